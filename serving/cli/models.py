"""`sightline models`: publish, list, verify and fetch bundles of the model store."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from serving.cli.context import of
from serving.cli.output import table
from serving.cli.train import Platform

if TYPE_CHECKING:
    from models.store.fetch import Fetched
    from models.store.store import Listed

app = typer.Typer(help="The model store: immutable, numbered bundles on a path or S3.", no_args_is_help=True)

Place = Annotated[str, typer.Argument(help="An entry (STORE/NAME/NUMBER) or a bundle's folder: a path or a URI.")]
Store = Annotated[str, typer.Option(help="The store: a path, or a URI such as s3://bucket/models.")]


class Layout(StrEnum):
    """What is made of a fetched bundle."""

    BUNDLE = "bundle"
    REPOSITORY = "repository"


class Device(StrEnum):
    """Where Triton runs a fetched model."""

    CPU = "cpu"
    GPU = "gpu"


@app.command()
def publish(
    context: typer.Context,
    bundle: Annotated[Path, typer.Argument(help="A bundle's folder.")],
    store: Store,
    name: Annotated[str | None, typer.Option(help="The model's name; the bundle's own if left out.")] = None,
) -> None:
    """Publish a bundle under the next number: whole or not at all."""
    from models.store.store import ModelStore

    created = datetime.now(UTC).isoformat(timespec="seconds")
    done = ModelStore.at(store).publish(bundle, name=name, created=created)
    document = {"uri": done.uri, "repository": done.repository, **done.entry.model_dump(mode="json")}
    of(context).output.answer(document, f"{done.uri}\nstorageUri for KServe: {done.repository}")


@app.command("list")
def list_models(
    context: typer.Context,
    store: Store,
    name: Annotated[str | None, typer.Option(help="Only this model.")] = None,
) -> None:
    """List what a store holds; what was never finished, or is damaged, is marked."""
    from models.store.store import ModelStore

    found = ModelStore.at(store).listing(name)
    columns = ("model", "number", "created", "bundle", "contract", "revision", "MB")
    shown = table(f"Model store {store}", columns, [_row(each) for each in found], right=("number", "MB"))
    of(context).output.answer([_document(each) for each in found], shown)


@app.command()
def verify(context: typer.Context, place: Place) -> None:
    """Read every byte of an entry, or of a bundle's folder, and compare it with what was published."""
    from models.store import fetch as store

    done = store.verify(place)
    text = f"{place} is whole and unchanged: bundle {done.bundle}, contract {done.contract_digest}"
    of(context).output.answer(_answer(done), text)


@app.command()
def fetch(
    context: typer.Context,
    place: Place,
    to: Annotated[Path, typer.Option(help="The folder to fill: the bundle's own, or a Triton repository.")],
    layout: Annotated[Layout, typer.Option(help="bundle: the folder as trained; repository: for Triton.")] = (
        Layout.BUNDLE
    ),
    platform: Annotated[
        Platform, typer.Option(help="For a repository. onnxruntime: NVIDIA's image; python: the PyPI wheel's Triton.")
    ] = Platform.ONNXRUNTIME,
    name: Annotated[
        str | None, typer.Option(help="For a repository: the model's name in Triton; the entry's if left out.")
    ] = None,
    device: Annotated[Device, typer.Option(help="For a repository: where Triton runs the model.")] = Device.CPU,
) -> None:
    """Copy a bundle out of the store, checking every sha256; done once is done."""
    from models.store import fetch as store

    if layout is Layout.BUNDLE and name is not None:
        raise typer.BadParameter("is for --layout repository only", param_hint="--name")
    if layout is Layout.BUNDLE and device is not Device.CPU:
        raise typer.BadParameter("is for --layout repository only", param_hint="--device")
    if layout is Layout.BUNDLE:
        done = store.fetch_bundle(place, to)
    else:
        done = store.fetch_repository(place, to, platform=platform.value, name=name, device=device.value)
    text = f"{done.path}: bundle {done.bundle}" + (f", version {done.version}" if done.version else "")
    of(context).output.answer(_answer(done), text)


def _answer(done: Fetched) -> dict[str, Any]:
    document = asdict(done)
    document["entry"] = done.entry.model_dump(mode="json") if done.entry else None
    document["path"] = str(done.path) if done.path else None
    return document


def _document(each: Listed) -> dict[str, Any]:
    entry = each.entry.model_dump(mode="json") if each.entry else None
    return {
        "name": each.name,
        "number": each.number,
        "uri": each.uri,
        "fault": each.fault,
        "claimed": each.claimed,
        "entry": entry,
    }


def _row(each: Listed) -> tuple[object, ...]:
    if each.entry is None:
        said = f"{each.fault}, claimed {each.claimed}" if each.claimed else each.fault
        return (each.name, each.number, said, "", "", "", "")
    entry = each.entry
    size = f"{entry.size / 1e6:.1f}"
    return (
        each.name,
        each.number,
        entry.created,
        entry.bundle[7:19],
        entry.contract_digest[7:19],
        entry.git_revision[:12],
        size,
    )
