"""What a URI of the store names, read and verified: an entry, or a bundle's folder as training wrote it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from models.bundle import MANIFEST, SIGNATURE, Bundle, BundleError, FileEntry, Manifest, check_names, read_bundle
from models.files import inside
from models.store.entry import BUNDLE, CLAIM, ENTRY, REPOSITORY, Entry, number_of
from models.store.errors import (
    DamagedEntryError,
    ModelStoreError,
    NoSuchEntryError,
    UnfinishedEntryError,
    UntrustedError,
)
from models.store.folder import Folder, folder_at
from models.store.signature import Statement
from models.store.trust import Trust, unpinned
from models.triton.repository import config_parameters

_MOST_TEXT = 1 << 20


@dataclass(frozen=True, slots=True)
class Source:
    """A committed entry, or (`entry` None) a plain bundle's folder, which its own manifest speaks for."""

    folder: Folder
    entry: Entry | None
    manifest: bytes | None
    """A plain bundle's manifest.json; None for an entry."""
    signature: bytes | None
    """signature.json, where there is one."""

    @classmethod
    def at(cls, uri: str, trust: Trust | None = None) -> Source:
        """What lies at a path or URI; with `@sha256:…` behind it, if it is that bundle.

        Args:
            trust: whose signatures count and what is demanded; what the environment says if left out.

        Raises:
            UntrustedError: it is another bundle than the pinned one, or not signed as `trust` demands.
            NoSuchEntryError: neither an entry nor a bundle; the message says what is there instead.
            UnfinishedEntryError: a number that was claimed and never committed.
            DamagedEntryError: its entry.json is not as it was written.
        """
        place, pinned = unpinned(uri.rstrip("/"))
        folder = folder_at(place.rstrip("/"))
        if folder.has(ENTRY):
            entry = Entry.from_json(_small(folder, ENTRY), f"{folder.uri}/{ENTRY}")
            _check_listed(f"{folder.uri}/{ENTRY}", entry)
            found = cls(folder, entry, None, _signature(folder))
        elif folder.has(MANIFEST):
            found = cls(folder, None, _small(folder, MANIFEST), _signature(folder))
        else:
            raise _absent(folder)
        found._require(trust or Trust.of(), pinned)
        return found

    @property
    def statement(self) -> Statement:
        """What a signature of this must say.

        Raises:
            BundleError: the manifest cannot be read.
        """
        if self.entry is not None:
            return Statement.of_entry(self.entry)
        assert self.manifest is not None
        _manifest(self.folder, self.manifest)
        return Statement.of_bundle(self.manifest)

    def _require(self, trust: Trust, pinned: str | None) -> None:
        """Before anything else is read: entry.json and the manifest have the digests of all the rest."""
        statement = self.statement
        where = f"{self.folder.uri}/{SIGNATURE}"
        if trust.keys and self.signature is not None and self.entry is not None:
            _check_place(self.folder, self.entry)
        trust.check_signature(where, statement, self.signature)
        trust.check_pin(self.folder.uri, pinned, statement.bundle)

    def copy_bundle(self, target: Path) -> Bundle:
        """Copy the bundle into the folder `target` (made if need be), checking every sha256 on the way.

        Raises:
            DamagedEntryError, BundleError: a file is missing or differs; names it with both digests.
        """
        bundle = self._copied(target)
        if self.signature is not None:
            (target / SIGNATURE).write_bytes(self.signature)
        return bundle

    def _copied(self, target: Path) -> Bundle:
        if self.entry is None:
            return self._copy_plain(target)
        for path, file in self.entry.files.items():
            if path.startswith(f"{BUNDLE}/"):
                self._copy(path, file, inside(target, path.removeprefix(f"{BUNDLE}/")))
        bundle = read_bundle(target)
        if (bundle.id, bundle.contract.digest) != (self.entry.bundle, self.entry.contract_digest):
            raise DamagedEntryError(
                f"{self.folder.uri} holds bundle {bundle.id} of contract {bundle.contract.digest}, its {ENTRY} names "
                f"{self.entry.bundle} and {self.entry.contract_digest}; publish the bundle again"
            )
        return bundle

    def copy_rest(self, target: Path) -> None:
        """Copy and check what an entry has beside its bundle, and that there is nothing else."""
        if self.entry is None:
            return
        stored = set(self.folder.files()) - {ENTRY, SIGNATURE}
        if extra := stored - set(self.entry.files):
            raise DamagedEntryError(
                f"{self.folder.uri} holds {sorted(extra)}, which {ENTRY} does not list; remove them"
            )
        rest = {path: file for path, file in self.entry.files.items() if not path.startswith(f"{BUNDLE}/")}
        for path, file in rest.items():
            self._copy(path, file, inside(target, path))
        _check_shape(self.folder.uri, self.entry, target)

    def _copy_plain(self, target: Path) -> Bundle:
        assert self.manifest is not None
        manifest = _manifest(self.folder, self.manifest)
        if foreign := set(self.folder.files()) - set(manifest.files) - {MANIFEST, SIGNATURE}:
            raise BundleError(f"{self.folder.uri} holds {sorted(foreign)}, which {MANIFEST} does not list; remove them")
        for name, file in manifest.files.items():
            self._copy(name, file, inside(target, name))
        (target / MANIFEST).write_bytes(self.manifest)
        return read_bundle(target)

    def _copy(self, path: str, file: FileEntry, target: Path) -> None:
        target.parent.mkdir(parents=True, exist_ok=True)
        digest, size = hashlib.sha256(), 0
        try:
            with target.open("wb") as out:
                for chunk in self.folder.chunks(path):
                    digest.update(chunk)
                    size += len(chunk)
                    if size > file.bytes:
                        raise DamagedEntryError(
                            f"{self.folder.uri}/{path} is longer than the {file.bytes} bytes that are listed; "
                            "the file was changed or damaged: publish the bundle again"
                        )
                    out.write(chunk)
        except NoSuchEntryError as error:
            raise DamagedEntryError(f"{self.folder.uri}/{path} is missing; publish the bundle again") from error
        if (found := f"sha256:{digest.hexdigest()}") != file.sha256:
            raise DamagedEntryError(
                f"{self.folder.uri}/{path} has {found} ({size} bytes), expected {file.sha256} ({file.bytes} bytes); "
                "the file was changed or damaged: publish the bundle again"
            )


def _manifest(folder: Folder, text: bytes) -> Manifest:
    try:
        manifest = Manifest.model_validate_json(text)
    except ValidationError as error:
        raise BundleError(f"{folder.uri}/{MANIFEST} is not a manifest of format 1: {error}") from error
    check_names(f"{folder.uri}/{MANIFEST}", manifest.files)
    return manifest


def _signature(folder: Folder) -> bytes | None:
    try:
        return _small(folder, SIGNATURE)
    except NoSuchEntryError:
        return None


def _check_place(folder: Folder, entry: Entry) -> None:
    """A signed entry lies where it was published: an older one in a newer one's place is signed too."""
    if not folder.uri.endswith(f"/{entry.name}/{entry.number}"):
        raise UntrustedError(
            f"{folder.uri} holds the entry {entry.name}/{entry.number}, which was moved here; give it by its place in "
            "the store, or publish again"
        )


def _small(folder: Folder, name: str) -> bytes:
    """A JSON file's text, refused where it is longer than any that we write: it is read whole before it is checked."""
    text = bytearray()
    for chunk in folder.chunks(name):
        text += chunk
        if len(text) > _MOST_TEXT:
            raise DamagedEntryError(f"{folder.uri}/{name} is longer than {_MOST_TEXT} bytes, which is none of ours")
    return bytes(text)


def _check_listed(where: str, entry: Entry) -> None:
    """An entry lists the files of its format and no others: known before the first of them is read."""
    rest = _beside_bundle(entry.name)
    listed = [path.removeprefix(f"{BUNDLE}/") for path in entry.files if path.startswith(f"{BUNDLE}/")]
    other = {path for path in entry.files if not path.startswith(f"{BUNDLE}/")}
    if other != rest or MANIFEST not in listed:
        raise DamagedEntryError(
            f"{where} lists {sorted(other)} beside the bundle; expected {sorted(rest)}, and {BUNDLE}/{MANIFEST}; "
            "publish the bundle again"
        )
    try:
        check_names(where, [name for name in listed if name != MANIFEST])
    except BundleError as error:
        raise DamagedEntryError(f"{error}; publish the bundle again") from error


def _beside_bundle(name: str) -> set[str]:
    model = f"{REPOSITORY}/{name}"
    return {f"{model}/config.pbtxt", f"{model}/1/model.onnx", CLAIM}


def _absent(folder: Folder) -> ModelStoreError:
    above, number = folder.uri.rsplit("/", 1)
    if number_of(number) and number in folder_at(above).folders():
        return UnfinishedEntryError(
            f"{folder.uri} is not finished: it has no {ENTRY}; it is being published now, or a publish was killed. "
            "Wait, or publish again (another number is given)"
        )
    below = folder.folders()
    if numbers := [each for each in below if number_of(each)]:
        return NoSuchEntryError(f"{folder.uri} is a model; give one of its numbers, such as {folder.uri}/{numbers[-1]}")
    if below:
        return NoSuchEntryError(
            f"{folder.uri} is neither an entry nor a bundle; it holds the folders {', '.join(below[:9])}"
        )
    return NoSuchEntryError(
        f"{folder.uri}: there is no such entry; `sightline models list --store …` shows those there are"
    )


def _check_shape(uri: str, entry: Entry, copied: Path) -> None:
    """The Triton repository is the bundle's own."""
    model = f"{REPOSITORY}/{entry.name}"
    found: Mapping[str, FileEntry] = entry.files
    placed = config_parameters(copied / model).get("bundle")
    if placed != entry.bundle or found[f"{model}/1/model.onnx"] != found[f"{BUNDLE}/model.onnx"]:
        raise DamagedEntryError(f"{uri}/{model} is not of bundle {entry.bundle}; publish the bundle again")
