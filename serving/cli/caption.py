"""`sightline caption`: pictures to words, by the running captioner or in this process."""

import asyncio
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from models.printable import printable
from serving.captioner.client import CaptionClient, CaptionError, CaptionResult
from serving.captioner.hosts import listed_hosts
from serving.cli.context import Context, PortSettings, of
from serving.cli.output import table
from serving.stack.errors import StackError
from serving.stack.lines import Report
from serving.stack.ports import HOST, Ports
from serving.stack.state import ready_state
from serving.tls import believed

EXIT_PARTIAL = 3
"""Done, and something of it could not be."""
_SHOWN = 20
_SHOWN_NAME = 200
"""Characters of an image's place that name it in answers: a data URL has millions."""
_FETCH_S = 30.0


def caption(
    context: typer.Context,
    images: Annotated[list[str] | None, typer.Argument(help="Image files, http(s) URLs or data URLs.")] = None,
    dataset: Annotated[
        str | None, typer.Option(help="A folder with your tables, path or URI: caption its items into the item store.")
    ] = None,
    recipe: Annotated[
        str | None, typer.Option(help="With --dataset: the recipe that you train by, if it is your own.")
    ] = None,
    picture_host: Annotated[
        list[str] | None,
        typer.Option(
            help="With --dataset: HOST[:PORT] whose pictures are fetched although its address is private; repeatable.",
            envvar="SIGHTLINE_PICTURE_HOSTS",
        ),
    ] = None,
    replace_data: Annotated[
        bool,
        typer.Option("--replace-data", help="With --dataset: the item store may hold another data set: remove it."),
    ] = False,
    preset: Annotated[
        str, typer.Option(help="Which captioner to load in this process when no stack is running.")
    ] = "tiny",
    url: Annotated[str | None, typer.Option(help="A captioning service; the running stack's if left out.")] = None,
    port: PortSettings = None,
) -> None:
    """Caption image files, or a catalogue's items into the item store.

    Exit code 1 when an image file was refused, or no picture of a catalogue has a caption; 3 when some have none.
    """
    given = of(context)
    if bool(images) == (dataset is not None):
        raise typer.BadParameter("give image files, or --dataset FOLDER, one of the two")
    source = context.get_parameter_source("picture_host")
    typed = source is not None and source.name == "COMMANDLINE"  # the variable may be set for all commands
    if dataset is None and (recipe or replace_data or typed):
        raise typer.BadParameter("--recipe, --replace-data and --picture-host belong to --dataset FOLDER")
    try:
        hosts = listed_hosts(picture_host or ())
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--picture-host or SIGHTLINE_PICTURE_HOSTS") from error
    state = ready_state(given.layout.run)
    address = url or (f"http://{HOST}:{state.ports['captioner']}" if state else None)
    if dataset is not None:
        _catalogue(given, Wanted(dataset, recipe, hosts, replace_data, preset, Ports.parse(port or [])), address)
        return
    assert images
    loaded = [(place[:_SHOWN_NAME], _read(place)) for place in images]
    client = CaptionClient(address, verify=believed(os.environ)) if address else None
    results = client.caption(loaded) if client else in_process(loaded, preset)
    for purpose in sorted({f"{r.captioner} reads {r.purpose}" for r in results if r.purpose}):
        given.output.say(f"note: {purpose}")
    rows = [(r.id, r.text or Text(printable(r.error.message if r.error else ""), "red")) for r in results]
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

    chosen = preset(preset_name)
    captioner = LlavaCaptioner.load(chosen)
    made = (captioner.provenance.captioner, captioner.provenance.prompt)
    limits = read_settings(os.environ, {}).limits()
    results = []
    for name, data in images:
        try:
            admitted = admit(data, limits)
        except ImageRefused as refused:
            error = CaptionError(refused.code, refused.message)
            results.append(CaptionResult(name, None, None, *made, error, purpose=chosen.purpose))
            continue
        (written,) = captioner.caption([admitted.image])
        results.append(
            CaptionResult(name, written.text, written.finish, *made, notes=admitted.notes, purpose=chosen.purpose)
        )
    return results


@dataclass(frozen=True)
class Wanted:
    """What is asked of a catalogue's captioning; see the options of the same names."""

    dataset: str
    recipe: str | None
    picture_hosts: frozenset[str]
    replace_data: bool
    preset: str
    ports: Ports


def _catalogue(given: Context, wanted: Wanted, address: str | None) -> None:
    """Caption a catalogue by the captioner at `address`, or by one of this command's own."""
    from serving.backfill.catalogue import read_catalogue
    from serving.stack.captioning import caption_catalogue
    from serving.stack.pipeline import OWN_RECIPE

    catalogue = read_catalogue(wanted.dataset, wanted.recipe or OWN_RECIPE)
    remedy = given.layout.command("caption", "--dataset", wanted.dataset, "--replace-data")
    with given.output.steps() as report, _captioner(given, wanted, address, report) as url:
        done = caption_catalogue(
            given.layout.own,
            catalogue,
            url,
            lambda done, of: report("captioning", done, of),
            picture_hosts=wanted.picture_hosts,
            replace_data=wanted.replace_data,
            remedy=remedy,
        )
    tally = done.tally
    places = {"failures": done.failures, "store": str(given.layout.own.store)}
    summary = {**tally.counts(), "refused": dict(done.refused), **places}
    rows: list[tuple[str, object]] = [(name.replace("_", " "), count) for name, count in tally.counts().items()]
    shown = list(done.refused.items())[:_SHOWN]
    if len(done.refused) > _SHOWN:
        shown.append(("…", f"{len(done.refused) - _SHOWN} more in {done.failures}"))
    given.output.answer(summary, table("Item store", ("item", "result"), [*rows, *shown]))
    if done.refused:
        given.output.say(
            f"{len(done.refused)} pictures have no caption; the same command tries them again, and only them"
        )
        raise typer.Exit(EXIT_PARTIAL if tally.captioned or tally.kept else 1)


@contextmanager
def _captioner(given: Context, wanted: Wanted, address: str | None, report: Report) -> Iterator[str]:
    """The captioner that runs, or one that runs as long as the block."""
    if address is not None:
        yield address
        return
    from serving.stack import services
    from serving.stack.foreground import foreground
    from serving.stack.interrupts import end_on_signals

    end_on_signals()
    with foreground(given.layout, wanted.ports, "caption") as held:
        held.supervisor.launch(services.captioner(given.layout, wanted.ports, wanted.preset))
        held.supervisor.wait_ready(report)
        yield f"http://{HOST}:{wanted.ports.captioner}"


def _read(place: str) -> bytes:
    from serving.captioner.base64_text import Base64, is_data_url
    from serving.captioner.refusal import ImageRefused

    try:
        if is_data_url(place):
            return Base64(place).decode(place[:_SHOWN_NAME])
        if place.lower().startswith(("http://", "https://")):
            return asyncio.run(_fetched(place))
        return Path(place).read_bytes()
    except ImageRefused as refused:
        raise StackError(f"{place[:_SHOWN_NAME]}: {refused.message}") from refused
    except OSError as error:
        raise StackError(
            f"{place[:_SHOWN_NAME]}: cannot be read ({error.strerror}); give the path of an image file"
        ) from error


async def _fetched(url: str) -> bytes:
    """Any host: whoever types the command may ask what this machine may."""
    from serving.captioner.fetch import ByteBudget, Fetcher
    from serving.captioner.settings import read_settings

    limit = read_settings(os.environ, {}).max_image_bytes
    return await Fetcher(None, True, limit, _FETCH_S).fetch(url, url, ByteBudget(limit))
