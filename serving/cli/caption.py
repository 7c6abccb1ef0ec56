"""`sightline caption`: pictures to words, by the running captioner or in this process."""

import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from serving.captioner.client import CaptionClient, CaptionError, CaptionResult
from serving.cli.context import Context, of
from serving.cli.output import table
from serving.stack.errors import StackError
from serving.stack.lock import ready_state
from serving.stack.ports import HOST


def caption(
    context: typer.Context,
    images: Annotated[list[Path] | None, typer.Argument(help="Image files.")] = None,
    dataset: Annotated[
        Path | None, typer.Option(help="A bring-your-own data folder: caption its items into the item store.")
    ] = None,
    preset: Annotated[
        str, typer.Option(help="Which captioner to load in this process when no stack is running.")
    ] = "tiny",
    url: Annotated[str | None, typer.Option(help="A captioning service; the running stack's if left out.")] = None,
) -> None:
    """Caption image files, or a catalogue's items into the item store; exit code 1 when an image was refused."""
    given = of(context)
    if bool(images) == (dataset is not None):
        raise typer.BadParameter("give image files, or --dataset FOLDER, one of the two")
    state = ready_state(given.layout.run)
    address = url or (f"http://{HOST}:{state.ports['captioner']}" if state else None)
    if dataset is not None:
        _catalogue(given, dataset, address)
        return
    assert images
    loaded = [(str(path), _read(path)) for path in images]
    results = CaptionClient(address).caption(loaded) if address else in_process(loaded, preset)
    rows = [(r.id, r.text or f"[red]{r.error.message if r.error else ''}[/]") for r in results]
    given.output.answer([asdict(result) for result in results], table("Captions", ("image", "caption"), rows))
    if any(result.error for result in results):
        raise typer.Exit(1)


def in_process(images: Sequence[tuple[str, bytes]], preset_name: str) -> list[CaptionResult]:
    """Caption without a service, behind the service's own admission."""
    from models.captioner.llava import LlavaCaptioner
    from models.captioner.presets import preset
    from serving.captioner.admission import admit
    from serving.captioner.refusal import ImageRefused
    from serving.captioner.settings import read_settings

    captioner = LlavaCaptioner.load(preset(preset_name))
    made = (captioner.provenance.captioner, captioner.provenance.prompt)
    limits = read_settings(os.environ, {}).limits()
    results = []
    for name, data in images:
        try:
            picture = admit(data, limits).image
        except ImageRefused as refused:
            error = CaptionError(refused.code, refused.message)
            results.append(CaptionResult(name, None, None, *made, error))
            continue
        (written,) = captioner.caption([picture])
        results.append(CaptionResult(name, written.text, written.finish, *made))
    return results


def _catalogue(given: Context, folder: Path, address: str | None) -> None:
    from serving.stack import pipeline
    from training.data import splits, tables

    if address is None:
        raise StackError("captioning a catalogue needs a running captioner: make up, or --url")
    dataset = tables.read(folder)
    ids = dataset.items[["item_id", "image"]].itertuples(index=False)
    images = {str(item): str(image) for item, image in ids if image}
    with given.output.steps() as report:
        done = pipeline.caption(given.layout.store, address, dataset, splits.within_user_time(dataset), images, report)
    summary = {"captioned": len(done.captions), "refused": dict(done.refused), "store": str(given.layout.store)}
    shown = [("captioned", len(done.captions)), *done.refused.items()]
    given.output.answer(summary, table("Item store", ("item", "result"), shown))


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise StackError(f"{path}: cannot be read ({error.strerror}); give the path of an image file") from error
