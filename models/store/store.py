"""The model store: immutable, numbered bundles that several Jobs may publish at the same moment.

    <store>/<name>/<number>/claim.json                      who took the number: written first, by one publisher only
    <store>/<name>/<number>/bundle/…                        the bundle as training wrote it
    <store>/<name>/<number>/repository/<name>/config.pbtxt  the same as a Triton repository: KServe's storageUri is
    <store>/<name>/<number>/repository/<name>/1/model.onnx  this `repository`
    <store>/<name>/<number>/signature.json                  who made it, where somebody signed it
    <store>/<name>/<number>/entry.json                      sha256 of every file above: written last, it commits

What has no entry.json is not there, whatever else is: list shows it as unfinished, verify and fetch refuse it.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from models.bundle import SIGNATURE, Bundle, FileEntry, read_bundle
from models.store.entry import BUNDLE, CLAIM, ENTRY, REPOSITORY, Entry, checked_name, is_name, number_of
from models.store.errors import DamagedEntryError, ModelStoreError, NoSuchEntryError
from models.store.folder import Folder, folder_at
from models.store.scratch import scratch
from models.store.signature import Statement, sign
from models.triton.repository import place_model

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

_TRIES = 1000


@dataclass(frozen=True, slots=True)
class Listed:
    """A number of the store: its entry when it is committed, and else what is wrong with it."""

    name: str
    number: int
    uri: str
    entry: Entry | None
    fault: str | None
    """None, `unfinished`, or the message of a damaged entry.json."""
    claimed: str | None = None
    """When and on which host an unfinished number was claimed, where that is known."""


@dataclass(frozen=True, slots=True)
class Published:
    """An entry and where it lies; `repository` is what KServe takes as storageUri."""

    entry: Entry
    uri: str

    @property
    def repository(self) -> str:
        return f"{self.uri}/{REPOSITORY}"

    @property
    def pinned(self) -> str:
        """The URI with the bundle's digest: whoever opens it gets this bundle or none."""
        return f"{self.uri}@{self.entry.bundle}"


class ModelStore:
    """A store at a path or an fsspec URI (`s3://bucket/models`)."""

    def __init__(self, folder: Folder) -> None:
        self._folder = folder

    @classmethod
    def at(cls, uri: str) -> ModelStore:
        """The store at a path or URI; nothing is read or made yet.

        Raises:
            ModelStoreError: the URI's scheme is unknown, or its driver is not installed.
        """
        return cls(folder_at(uri))

    def publish(
        self, bundle: Path, *, created: str, name: str | None = None, key: Ed25519PrivateKey | None = None
    ) -> Published:
        """Publish a bundle under the next number of `name`: whole, or not at all.

        The bundle is copied to this machine's temporary folder first, and that copy is verified and published: a
        bundle that is being replaced by another training run cannot be published half and half.

        Args:
            bundle: a bundle's folder.
            created: ISO 8601 time of publishing, with its zone.
            name: the model's name; the one that the bundle's manifest has if left out.
            key: signs the entry; not signed if left out.

        Raises:
            BundleError: `bundle` is not a whole, unchanged bundle; nothing was published.
            ModelStoreError: the store cannot take it; nothing was published. See the subclasses.
        """
        with scratch("publish") as staged:
            copy = _copied(bundle, staged / BUNDLE)
            model = checked_name(name or copy.manifest.name)
            place_model(staged / REPOSITORY, model, copy)
            number, place = self._claim(model, claim := _claim_of(created))
            (staged / CLAIM).write_bytes(claim)
            entry = _entry(staged, model, number, copy, created)
            for path in sorted(entry.files):
                if path != CLAIM:
                    place.upload(path, staged / path)
            _check_sizes(place, entry)
            if key is not None:
                place.write(SIGNATURE, sign(Statement.of_entry(entry), key).to_json())
            place.write(ENTRY, entry.to_json())
        return Published(entry, place.uri)

    def names(self) -> list[str]:
        """The models' names, in the alphabet's order."""
        return [name for name in self._folder.folders() if is_name(name)]

    def listing(self, name: str | None = None) -> list[Listed]:
        """Every number of one model or of all, by name and number, those without a committed entry too.

        Raises:
            NoSuchEntryError: the store is empty or not there, or has no such name.
        """
        names = self.names()
        if name is not None and name not in names:
            raise NoSuchEntryError(
                f"model store {self._folder.uri} has no model {name!r}; it has {', '.join(names) or 'nothing'}"
            )
        if not names:
            raise NoSuchEntryError(f"model store {self._folder.uri} is empty or not there; publish a bundle first")
        return [listed for each in names if name in (None, each) for listed in self._numbers(each)]

    def _numbers(self, name: str) -> Iterator[Listed]:
        for number in _given(self._folder.below(name)):
            place = self._folder.below(f"{name}/{number}")
            entry, fault, claimed = None, None, None
            try:
                entry = Entry.from_json(b"".join(place.chunks(ENTRY)), f"{place.uri}/{ENTRY}")
            except NoSuchEntryError:
                fault, claimed = "unfinished", _claimed(place)
            except DamagedEntryError as error:
                fault = str(error)
            if entry and (entry.name, entry.number) != (name, number):
                fault, entry = f"{place.uri}/{ENTRY} is of {entry.name}/{entry.number}: it was copied here", None
            yield Listed(name, number, place.uri, entry, fault, claimed)

    def _claim(self, name: str, content: bytes) -> tuple[int, Folder]:
        """The next number, ours alone from here on."""
        first = max(_given(self._folder.below(name)), default=0) + 1
        for number in range(first, first + _TRIES):
            place = self._folder.below(f"{name}/{number}")
            if place.claim(content):
                return number, place
        raise ModelStoreError(
            f"{self._folder.uri}/{name}: {_TRIES} numbers from {first} on were taken while this bundle was published; "
            "something else writes there"
        )


def _given(model: Folder) -> list[int]:
    """The numbers that a model's folder has, ascending."""
    return sorted(number for each in model.folders() if (number := number_of(each)) is not None)


def _copied(bundle: Path, target: Path) -> Bundle:
    read_bundle(bundle)  # speaks of the given folder when it is none
    shutil.copytree(bundle, target, ignore=shutil.ignore_patterns(SIGNATURE))  # of the folder, not of the entry
    return read_bundle(target)


def _claim_of(created: str) -> bytes:
    """Tells a person who took a number and never finished; and no two claims are the same bytes."""
    claim = {"created": created, "host": socket.gethostname(), "token": os.urandom(8).hex()}
    return json.dumps(claim, sort_keys=True).encode() + b"\n"


def _claimed(place: Folder) -> str | None:
    try:
        claim = json.loads(b"".join(place.chunks(CLAIM)))
        return f"{claim['created']} on {claim['host']}"
    except (NoSuchEntryError, ValueError, KeyError, TypeError):
        return None  # killed between making the folder and writing the claim


def _entry(staged: Path, name: str, number: int, bundle: Bundle, created: str) -> Entry:
    files = {
        each.relative_to(staged).as_posix(): _file_entry(each) for each in sorted(staged.rglob("*")) if each.is_file()
    }
    return Entry(
        name=name,
        number=number,
        bundle=bundle.id,
        contract_digest=bundle.contract.digest,
        created=created,
        git_revision=bundle.manifest.git_revision,
        size=sum(file.bytes for file in files.values()),
        files=files,
    )


def _file_entry(path: Path) -> FileEntry:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return FileEntry(sha256=f"sha256:{digest}", bytes=path.stat().st_size)


def _check_sizes(place: Folder, entry: Entry) -> None:
    """An upload that the store cut short is not committed."""
    stored, wanted = place.files(), {path: file.bytes for path, file in entry.files.items()}
    if stored != wanted:
        wrong = sorted(path for path in stored.keys() | wanted.keys() if stored.get(path) != wanted.get(path))
        raise DamagedEntryError(
            f"{place.uri}: {wrong} did not arrive as they were sent; the entry is not committed: publish again"
        )
