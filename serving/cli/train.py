"""`sightline train` and `sightline export`."""

from __future__ import annotations

from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from serving.cli.context import Context, of
from serving.cli.lift import show_lift
from serving.cli.local_path import path_argument, path_option

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from serving.stack.layout import Layout
    from training.data.dataset import Dataset
    from training.lift import LiftReport


class Platform(StrEnum):
    """What runs the ONNX file in Triton."""

    ONNXRUNTIME = "onnxruntime"
    PYTHON = "python"


def train(
    context: typer.Context,
    recipe: Annotated[
        str | None,
        typer.Option(
            help="A recipe of the project by its name, or a YAML file: path or URI; one that fits if left out."
        ),
    ] = None,
    dataset: Annotated[
        str | None, typer.Option(help="A folder with your tables: path or URI; MovieLens-100K if left out.")
    ] = None,
    out: Annotated[Path | None, path_option(help="Where the bundles go; the state folder's if left out.")] = None,
    checkpoints: Annotated[Path | None, path_option(help="Keep unfinished runs here and go on from them.")] = None,
    force: Annotated[bool, typer.Option(help="Place a ranker that is far below the item mean, too.")] = False,
) -> None:
    """Train rankers with and without captions, measure the lift, write two bundles.

    Without --out they are also placed in the Triton repository that `sightline up` serves.
    """
    from serving.stack import pipeline
    from serving.stack.lift_view import views
    from training.data.features import SOURCES
    from training.job_inputs import read_recipe
    from training.run import RANKER

    given = of(context)
    chosen = read_recipe(recipe or (str(pipeline.RECIPE) if dataset is None else pipeline.OWN_RECIPE))
    layout = given.layout.demonstration if dataset is None else given.layout.own
    data, words = _data(given, dataset)
    captions = _captions(given, layout, data)
    with given.output.steps() as report:
        lift, bundles = pipeline.train(
            out or layout.bundles,
            data,
            captions,
            chosen,
            datetime.now(UTC).isoformat(timespec="seconds"),
            report,
            words=words,
            checkpoints=checkpoints,
        )
    if (cuts := lift.captions_cut) is not None:
        given.output.say(f"warning: {cuts.warning()}" if cuts.loud else str(cuts))
    if not given.output.json:
        show_lift(given.output, views(lift))
    if out is None:
        with given.output.steps() as report:
            pipeline.place(layout, bundles, report, force=force)
    contract = bundles[RANKER].contract
    for source in SOURCES:
        given.output.say(f"features of {source}: {', '.join(contract.names(source))}")
    _answer(given, {name: str(bundle.path) for name, bundle in bundles.items()}, lift)


def _answer(given: Context, written: Mapping[str, str], lift: LiftReport) -> None:
    if given.output.json:
        given.output.answer({"bundles": written, "lift": lift.model_dump(mode="json")})
        return
    for name, path in written.items():
        given.output.out.print(f"{name}: {path}", markup=False)


def export(
    context: typer.Context,
    bundle: Annotated[
        str,
        typer.Argument(help="A bundle's folder, or an entry (STORE/NAME/NUMBER) of a model store: a path or a URI."),
    ],
    repository: Annotated[Path, path_argument(help="Triton's model repository.")],
    name: Annotated[
        str | None,
        typer.Option(help="The model's name in Triton; the folder's, or the one in the entry's bundle, if left out."),
    ] = None,
    platform: Annotated[
        Platform,
        typer.Option(help="python: this machine's Triton and the chart's; onnxruntime: NVIDIA's Triton image."),
    ] = Platform.PYTHON,
    keep: Annotated[int | None, typer.Option(min=1, help="Keep this many newest versions; all if left out.")] = None,
    replace: Annotated[bool, typer.Option(help="Replace versions of another contract.")] = False,
    force: Annotated[bool, typer.Option(help="Place it though its ranker is far below the item mean.")] = False,
) -> None:
    """Place a verified bundle as the next version of a model in a Triton repository."""
    from models.store.fetch import opened
    from models.triton.repository import place_model

    given = of(context)
    with opened(bundle) as whole:
        whole.require_fit(force, place=bundle)
        model = name or (Path(bundle).resolve().name if whole.path == Path(bundle) else whole.manifest.name)
        version = place_model(repository, model, whole, platform=platform.value, keep=keep, replace=replace)
    where = repository / model / str(version)
    given.output.answer({"model": model, "version": version, "path": str(where)}, f"{model} version {version}: {where}")


def _data(given: Context, dataset: str | None) -> tuple[Dataset, Mapping[str, Sequence[str]] | None]:
    """The data set, and what its pictures were made from where that is known."""
    from serving.stack import pipeline
    from training.data import tables

    if dataset is not None:
        return tables.read(dataset), None
    with given.output.steps() as report:
        films = pipeline.catalogue(given.layout, given.output.say, report)
    return pipeline.pictured(films), films.data.words()


def _captions(given: Context, layout: Layout, data: Dataset) -> dict[str, str]:
    """The captions of the data's own pictures, as `sightline caption --dataset` or the demo left them."""
    from training.caption_shards import read_captions

    if layout.captions.is_dir():
        return read_captions(str(layout.captions), data, given.output.say)
    if data.items["image"].notna().any():
        given.output.say("no item has a caption yet: caption them first, or the rankers learn without")
    return {}
