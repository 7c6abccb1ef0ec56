"""`sightline models`: publish, list, verify and fetch bundles of the model store."""

from __future__ import annotations

import os
from dataclasses import asdict
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from serving.cli.context import of
from serving.cli.local_path import path_argument, path_option
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
    place: Place,
    store: Store,
    name: Annotated[str | None, typer.Option(help="The model's name; the bundle's own if left out.")] = None,
    force: Annotated[bool, typer.Option(help="Publish it though its ranker is far below the item mean.")] = False,
    sign: Annotated[
        Path | None,
        path_option(help="Sign it with this private key (PEM); that of SIGHTLINE_SIGNING_KEY if there is one."),
    ] = None,
) -> None:
    """Publish a bundle under the next number: whole or not at all."""
    from models.store.fetch import opened
    from models.store.keys import private_key, signing_key
    from models.store.store import ModelStore

    created = datetime.now(UTC).isoformat(timespec="seconds")
    key = private_key(str(sign), "--sign") if sign else signing_key(os.environ)
    with opened(place) as bundle:
        bundle.require_fit(force, place=place)
        done = ModelStore.at(store).publish(bundle.path, name=name, created=created, key=key)
    document = {
        "uri": done.uri,
        "pinned": done.pinned,
        "repository": done.repository,
        "signed": key is not None,
        **done.entry.model_dump(mode="json"),
    }
    text = f"{done.uri}{', signed' if key else ''}\npinned: {done.pinned}\nstorageUri for KServe: {done.repository}"
    of(context).output.answer(document, text)


@app.command()
def keygen(
    context: typer.Context,
    to: Annotated[Path, path_argument(help="The private key's file; the public key's is beside it, *.pub.pem.")],
) -> None:
    """Make a key that signs bundles: a private ed25519 key for whoever publishes, a public one for whoever serves."""
    from models.store.keys import make_key

    public = to.with_name(f"{to.name.removesuffix('.pem')}.pub.pem")
    made = make_key(to, public)
    document = {"private": str(to), "public": str(public), "key": made}
    of(context).output.answer(document, f"{to}: private key, mode 0600; keep it where you publish\n{public}: {made}")


@app.command("pin-weights")
def pin_weights(
    context: typer.Context,
    source: Annotated[str, typer.Argument(help="A captioner's preset, or a checkpoint's hub id, folder or URI.")],
    revision: Annotated[
        str | None, typer.Option(help="The hub's branch, tag or commit; its newest if left out.")
    ] = None,
) -> None:
    """Tell the commit and the digest that pin a captioner's weights; of the hub's, without fetching them."""
    from models.captioner.pin import pin

    found = pin(source, revision, endpoint=os.environ.get("HF_ENDPOINT"))
    settings = {"revision": found.revision, "weights": found.weights}
    lines = [f"{name}: {value}" for name, value in settings.items() if value is not None]
    of(context).output.answer({"source": source, **settings}, "\n".join(lines))


@app.command()
def sign(
    context: typer.Context,
    place: Place,
    key: Annotated[Path, path_option(help="The private key (PEM) that `models keygen` made.")],
) -> None:
    """Read every byte of an entry, or of a bundle's folder, and sign it; signatures by other keys stay."""
    from models.store.fetch import sign_at
    from models.store.keys import key_id, private_key

    loaded = private_key(str(key), "--key")
    made = sign_at(place, loaded)
    by = key_id(loaded.public_key())
    of(context).output.answer({**made.model_dump(), "key": by}, f"{place} is signed by {by}: {made}")


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
def verify(
    context: typer.Context,
    place: Place,
    key: Annotated[
        list[Path] | None,
        path_option(help="Demand a signature by this public key (PEM, or a folder of them); repeatable."),
    ] = None,
) -> None:
    """Read every byte of an entry, or of a bundle's folder, and compare it with what was published."""
    from models.store import fetch as store
    from models.store.keys import public_keys
    from models.store.trust import SIGNED, Trust

    keys = tuple(found for each in key or () for found in public_keys(str(each), "--key"))
    done = store.verify(place, Trust(keys, frozenset({SIGNED})) if keys else None)
    signed = " and signed by a trusted key" if keys else ""
    text = f"{place} is whole and unchanged{signed}: bundle {done.bundle}, contract {done.contract_digest}"
    of(context).output.answer(_answer(done), text)


@app.command()
def fetch(
    context: typer.Context,
    place: Place,
    to: Annotated[Path, path_option(help="The folder to fill: the bundle's own, or a Triton repository.")],
    layout: Annotated[Layout, typer.Option(help="bundle: the folder as trained; repository: for Triton.")] = (
        Layout.BUNDLE
    ),
    platform: Annotated[
        Platform, typer.Option(help="For a repository. python: the PyPI wheel's Triton; onnxruntime: NVIDIA's image.")
    ] = Platform.PYTHON,
    name: Annotated[
        str | None, typer.Option(help="For a repository: the model's name in Triton; the entry's if left out.")
    ] = None,
    device: Annotated[Device, typer.Option(help="For a repository: where Triton runs the model.")] = Device.CPU,
    force: Annotated[
        bool, typer.Option("--force", help="For a repository: place it though its ranker is far below the item mean.")
    ] = False,
) -> None:
    """Copy a bundle out of the store, checking every sha256; done once is done."""
    from models.store import fetch as store

    if layout is Layout.BUNDLE and name is not None:
        raise typer.BadParameter("is for --layout repository only", param_hint="--name")
    if layout is Layout.BUNDLE and device is not Device.CPU:
        raise typer.BadParameter("is for --layout repository only", param_hint="--device")
    if layout is Layout.BUNDLE and force:
        raise typer.BadParameter("is for --layout repository only", param_hint="--force")
    if layout is Layout.BUNDLE:
        done = store.fetch_bundle(place, to)
    else:
        done = store.fetch_repository(place, to, platform=platform.value, name=name, device=device.value, force=force)
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
