"""Bundles out of the store: verified in place, or copied to a folder that a server reads."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from models.bundle import CONTRACT, MANIFEST, METRICS, MODEL, SIGNATURE, TOKENIZER, Bundle, BundleError, read_bundle
from models.files import new_folder, write_atomic
from models.local_path import is_uri
from models.store.entry import ENTRY, Entry, checked_name
from models.store.errors import ModelStoreError, UntrustedError
from models.store.scratch import scratch, writing
from models.store.signature import Signature, Statement, sign
from models.store.source import Source
from models.store.trust import DIGEST, SIGNED, Trust, unpinned
from models.triton.config import Device, Platform, TritonSettings
from models.triton.repository import place_model, placed_version

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

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


def verify(uri: str, trust: Trust | None = None) -> Fetched:
    """Read all of an entry, or of a bundle's folder, at a path or URI: every byte is what was published.

    Args:
        trust: whose signatures count and what is demanded; what the environment says if left out.

    Raises:
        ModelStoreError, BundleError: it is not; the message names the file and both digests. See the subclasses.
    """
    return _verified(Source.at(uri, trust), uri)


def sign_at(uri: str, key: Ed25519PrivateKey) -> Statement:
    """Read all of an entry, or of a bundle's folder, and put a signature beside it; others' of the same are kept.

    Raises:
        ModelStoreError, BundleError: nothing was signed.
    """
    source = Source.at(uri, Trust())
    _verified(source, uri)
    made = sign(source.statement, key)
    if source.signature is not None:
        made = made.signed_also(Signature.from_json(source.signature, f"{source.folder.uri}/{SIGNATURE}"))
    source.folder.write(SIGNATURE, made.to_json())
    return made.statement


def signed_by(uri: str, key: Ed25519PublicKey) -> bool:
    """Whether this key signed what lies there. Raises what `Source.at` does for what is damaged."""
    try:
        Source.at(uri, Trust((key,), frozenset({SIGNED})))
    except UntrustedError:
        return False
    return True


def read_signed(path: Path) -> Bundle:
    """The bundle in a folder of this machine, signed if the environment demands it; see `models.bundle.read_bundle`.

    Raises:
        BundleError: it is not whole.
        UntrustedError: it is not signed as `Trust.of` demands.
    """
    bundle = read_bundle(path)
    trust, signature = Trust.of(), path / SIGNATURE
    statement = Statement(name=bundle.manifest.name, number=None, bundle=bundle.id, entry=None)
    found = signature.read_bytes() if signature.is_file() else None
    trust.check_signature(str(signature), statement, found, fetched=True)
    return bundle


def _verified(source: Source, uri: str) -> Fetched:
    with scratch("verify") as folder:
        bundle = source.copy_bundle(folder / "copy")
        source.copy_rest(folder / "rest")
        return _fetched(uri, source, bundle, None)


@contextmanager
def opened(place: str) -> Iterator[Bundle]:
    """The bundle at a path or URI: a folder of this machine where it lies, anything else as a verified copy that is
    there as long as the block.

    Raises:
        ModelStoreError, BundleError: it is not what was published, or there is none.
    """
    plain, pinned = unpinned(place)
    if (
        pinned is None
        and not is_uri(place)
        and not (Path(plain) / ENTRY).is_file()
        and DIGEST not in Trust.of().require
    ):
        yield read_signed(Path(place))
        return
    source = Source.at(place)
    with scratch("open") as folder:
        yield source.copy_bundle(folder / "bundle")


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
        _keep_signature(source, to)
        return _fetched(uri, source, there, to)
    if to.exists() and (not to.is_dir() or any(to.iterdir())):
        held = f"bundle {there.id}" if there else "something that is no whole bundle"
        raise ModelStoreError(f"{to} holds {held}; give a folder that is empty or does not exist, or remove it first")
    with writing(to), _arriving(to) as folder:
        source.copy_bundle(folder)
    return _fetched(uri, source, read_bundle(to), to)


def fetch_repository(
    uri: str, to: Path, *, platform: Platform, name: str | None = None, device: Device = "cpu", force: bool = False
) -> Fetched:
    """Place an entry's bundle in the Triton repository `to`, as the next version of `name`.

    A repository whose newest version is this very bundle is left as it is. `name` is the model's name in Triton: the
    entry's (or the bundle's own) if left out. `device` is where Triton runs it. `force` places also one
    that must not be served (`models.bundle.Bundle.require_fit`).

    Raises:
        ModelStoreError, BundleError, RepositoryError: nothing was placed.
    """
    source = Source.at(uri)
    with scratch("fetch") as folder, writing(to):
        bundle = source.copy_bundle(folder / "copy")
        bundle.require_fit(force, "give --force (chart: model.force)", place=uri)
        model = checked_name(name or (source.entry.name if source.entry else bundle.manifest.name))
        version = placed_version(to / model, bundle, platform=platform, device=device)
        if version is None:
            version = place_model(to, model, bundle, platform=platform, settings=TritonSettings(device=device))
        return _fetched(uri, source, bundle, to / model, version)


def _keep_signature(source: Source, to: Path) -> None:
    """A bundle that was fetched before it was signed gets its signature."""
    there = to / SIGNATURE
    if source.signature is not None and (not there.is_file() or there.read_bytes() != source.signature):
        with writing(to):
            write_atomic(there, source.signature)


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
        for name in (MODEL, CONTRACT, TOKENIZER, METRICS, SIGNATURE):
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
