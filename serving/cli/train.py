"""`sightline train` and `sightline export`."""

from __future__ import annotations

from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from serving.cli.context import Context, of
from serving.cli.lift import show_lift

if TYPE_CHECKING:
    from models.items import StoredCaption


class Platform(StrEnum):
    """What runs the ONNX file in Triton."""

    ONNXRUNTIME = "onnxruntime"
    PYTHON = "python"


def train(
    context: typer.Context,
    recipe: Annotated[Path | None, typer.Option(help="A recipe; MovieLens' own if left out.")] = None,
    dataset: Annotated[
        Path | None, typer.Option(help="A bring-your-own data folder; MovieLens-100K if left out.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Where the bundles go; the state folder's if left out.")] = None,
    checkpoints: Annotated[Path | None, typer.Option(help="Keep unfinished runs here and go on from them.")] = None,
) -> None:
    """Train rankers with and without the item store's captions, measure the lift, write two bundles."""
    from serving.stack import pipeline
    from serving.stack.lift_view import views
    from training.data import movielens, tables
    from training.recipe import load_recipe

    given = of(context)
    chosen = load_recipe(recipe or pipeline.RECIPE)
    captions = _captions(given)
    if dataset is None:
        films = movielens.load(given.layout.data, given.output.say)
        data, words = films.dataset, films.words()
    else:
        data, words = tables.read(dataset), None
    with given.output.steps() as report:
        lift, bundles = pipeline.train(
            out or given.layout.bundles,
            data,
            captions,
            chosen,
            datetime.now(UTC).isoformat(timespec="seconds"),
            report,
            words=words,
            checkpoints=checkpoints,
        )
    written = {name: str(bundle.path) for name, bundle in bundles.items()}
    if given.output.json:
        given.output.answer({"bundles": written, "lift": lift.model_dump(mode="json")})
        return
    show_lift(given.output, views(lift))
    for name, path in written.items():
        given.output.out.print(f"{name}: {path}", markup=False)


def export(
    context: typer.Context,
    bundle: Annotated[Path, typer.Argument(help="A bundle's folder.")],
    repository: Annotated[Path, typer.Argument(help="Triton's model repository.")],
    name: Annotated[
        str | None, typer.Option(help="The model's name in Triton; the bundle folder's if left out.")
    ] = None,
    platform: Annotated[Platform, typer.Option(help="onnxruntime: NVIDIA's image; python: this machine's Triton.")] = (
        Platform.ONNXRUNTIME
    ),
    keep: Annotated[int | None, typer.Option(min=1, help="Keep this many newest versions; all if left out.")] = None,
    replace: Annotated[bool, typer.Option(help="Replace versions of another contract.")] = False,
) -> None:
    """Place a verified bundle as the next version of a model in a Triton repository."""
    from models.bundle import read_bundle
    from models.triton.repository import place_model

    given = of(context)
    model = name or bundle.resolve().name
    version = place_model(repository, model, read_bundle(bundle), platform=platform.value, keep=keep, replace=replace)
    where = repository / model / str(version)
    given.output.answer({"model": model, "version": version, "path": str(where)}, f"{model} version {version}: {where}")


def _captions(given: Context) -> dict[str, StoredCaption]:
    from serving.items.lmdb_store import LmdbStore

    with LmdbStore.open(given.layout.store, readonly=True) as store:
        return {row.item_id: row.caption for row in store.items() if row.caption is not None}
