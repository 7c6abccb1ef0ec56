"""Bundles out of the store: verified in place, or copied to a folder that a server reads."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from models.bundle import CONTRACT, MANIFEST, METRICS, MODEL, TOKENIZER, Bundle, BundleError, read_bundle
from models.files import new_folder
from models.store.entry import Entry, checked_name
from models.store.errors import ModelStoreError
from models.store.scratch import scratch, writing
from models.store.source import Source
from models.triton.config import Device, Platform, TritonSettings
from models.triton.repository import config_parameters, place_model, versions

_STAGE = ".fetching"


@dataclass(frozen=True, slots=True)
class Fetched:
    """What was fetched or verified: the bundle's id and contract, and its entry (None for a plain bundle's folder)."""

    uri: str
    bundle: str
    contract_digest: str
    entry: Entry | None
    path: Path | None
    """Where it lies now; None when it was only verified."""
    version: int | None = None
    """The version's number in the Triton repository; None for the layout `bundle`."""


def verify(uri: str) -> Fetched:
    """Read all of an entry, or of a bundle's folder, at a path or URI: every byte is what was published.

    Raises:
        ModelStoreError, BundleError: it is not; the message names the file and both digests. See the subclasses.
    """
    source = Source.at(uri)
    with scratch("verify") as folder:
        bundle = source.copy_bundle(folder / "copy")
        source.copy_rest(folder / "rest")
        return _fetched(uri, source, bundle, None)


def fetch_bundle(uri: str, to: Path) -> Fetched:
    """Copy an entry's bundle to the folder `to`, verified; a folder that holds this very bundle is left as it is.

    `to` need not exist. When it does (the mount point of an empty volume), it must be empty, or hold what an earlier
    fetch that was killed left. The manifest arrives last: before that `to` is no bundle.

    Raises:
        ModelStoreError, BundleError: what is at `uri` cannot be read or is not what was published, or `to` holds
            something else; `to` is not a bundle then.
    """
    source = Source.at(uri)
    with writing(to):
        _clear_killed(to)
    if (there := _bundle_at(to)) is not None and there.id == _id_of(source):
        return _fetched(uri, source, there, to)
    if to.exists() and (not to.is_dir() or any(to.iterdir())):
        held = f"bundle {there.id}" if there else "something that is no whole bundle"
        raise ModelStoreError(f"{to} holds {held}; give a folder that is empty or does not exist, or remove it first")
    with writing(to), _arriving(to) as folder:
        source.copy_bundle(folder)
    return _fetched(uri, source, read_bundle(to), to)


def fetch_repository(
    uri: str, to: Path, *, platform: Platform, name: str | None = None, device: Device = "cpu"
) -> Fetched:
    """Place an entry's bundle in the Triton repository `to`, as the next version of `name`.

    A repository whose newest version is this very bundle is left as it is. `name` is the model's name in Triton: the
    entry's (or the bundle's own) if left out. `device` is where Triton runs it.

    Raises:
        ModelStoreError, BundleError, RepositoryError: nothing was placed.
    """
    source = Source.at(uri)
    with scratch("fetch") as folder, writing(to):
        bundle = source.copy_bundle(folder / "copy")
        model = checked_name(name or (source.entry.name if source.entry else bundle.manifest.name))
        version = _placed(to / model, bundle, platform, device)
        if version is None:
            version = place_model(to, model, bundle, platform=platform, settings=TritonSettings(device=device))
        return _fetched(uri, source, bundle, to / model, version)


def _placed(model: Path, bundle: Bundle, platform: Platform, device: Device) -> int | None:
    """The newest version's number when it is this bundle, whole, for this platform and device."""
    if not model.is_dir() or config_parameters(model).get("bundle") != bundle.id or not (there := versions(model)):
        return None
    newest = model / str(there[-1])
    onnx = newest / "model.onnx"
    same = onnx.is_file() and onnx.read_bytes() == bundle.onnx_path.read_bytes()
    same = same and f"kind: KIND_{device.upper()}" in (model / "config.pbtxt").read_text()
    return there[-1] if same and (newest / "model.py").is_file() == (platform == "python") else None


def _id_of(source: Source) -> str:
    if source.entry is not None:
        return source.entry.bundle
    with scratch("fetch") as folder:
        return source.copy_bundle(folder / "copy").id


def _bundle_at(folder: Path) -> Bundle | None:
    try:
        return read_bundle(folder)
    except BundleError:
        return None


def _clear_killed(to: Path) -> None:
    """Remove what a fetch left that was killed: its stage, and the files that came before the manifest."""
    if not (to / _STAGE).is_dir():
        return
    shutil.rmtree(to / _STAGE)
    if not (to / MANIFEST).exists():
        for name in (MODEL, CONTRACT, TOKENIZER, METRICS):
            (to / name).unlink(missing_ok=True)


@contextmanager
def _arriving(to: Path) -> Iterator[Path]:
    """A folder to fill that becomes `to`: by one rename, or file by file where `to` exists and may be a mount point."""
    if not to.exists():
        with new_folder(to) as folder:
            yield folder
        return
    stage = to / _STAGE
    stage.mkdir()
    try:
        yield stage
        for each in sorted(stage.iterdir(), key=lambda path: path.name == MANIFEST):
            each.rename(to / each.name)
    finally:
        shutil.rmtree(stage, ignore_errors=True)


def _fetched(uri: str, source: Source, bundle: Bundle, path: Path | None, version: int | None = None) -> Fetched:
    return Fetched(uri, bundle.id, bundle.contract.digest, source.entry, path, version)
