"""What a URI of the store names, read and verified: an entry, or a bundle's folder as training wrote it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from pydantic import ValidationError

from models.bundle import MANIFEST, Bundle, BundleError, FileEntry, Manifest, read_bundle
from models.store.entry import BUNDLE, CLAIM, ENTRY, REPOSITORY, Entry, number_of
from models.store.errors import DamagedEntryError, ModelStoreError, NoSuchEntryError, UnfinishedEntryError
from models.store.folder import Folder, folder_at
from models.triton.repository import config_parameters


@dataclass(frozen=True, slots=True)
class Source:
    """A committed entry, or (`entry` None) a plain bundle's folder, which its own manifest speaks for."""

    folder: Folder
    entry: Entry | None

    @classmethod
    def at(cls, uri: str) -> Source:
        """What lies at a path or URI.

        Raises:
            NoSuchEntryError: neither an entry nor a bundle; the message says what is there instead.
            UnfinishedEntryError: a number that was claimed and never committed.
            DamagedEntryError: its entry.json is not as it was written.
        """
        folder = folder_at(uri.rstrip("/"))
        if folder.has(ENTRY):
            return cls(folder, Entry.from_json(b"".join(folder.chunks(ENTRY)), f"{folder.uri}/{ENTRY}"))
        if folder.has(MANIFEST):
            return cls(folder, None)
        raise _absent(folder)

    def copy_bundle(self, target: Path) -> Bundle:
        """Copy the bundle into the folder `target` (made if need be), checking every sha256 on the way.

        Raises:
            DamagedEntryError, BundleError: a file is missing or differs; names it with both digests.
        """
        if self.entry is None:
            return self._copy_plain(target)
        for path, file in self.entry.files.items():
            if path.startswith(f"{BUNDLE}/"):
                self._copy(path, file, target / path.removeprefix(f"{BUNDLE}/"))
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
        stored = set(self.folder.files()) - {ENTRY}
        if extra := stored - set(self.entry.files):
            raise DamagedEntryError(
                f"{self.folder.uri} holds {sorted(extra)}, which {ENTRY} does not list; remove them"
            )
        rest = {path: file for path, file in self.entry.files.items() if not path.startswith(f"{BUNDLE}/")}
        for path, file in rest.items():
            self._copy(path, file, target / path)
        _check_shape(self.folder.uri, self.entry, target)

    def _copy_plain(self, target: Path) -> Bundle:
        text = b"".join(self.folder.chunks(MANIFEST))
        try:
            manifest = Manifest.model_validate_json(text)
        except ValidationError as error:
            raise BundleError(f"{self.folder.uri}/{MANIFEST} is not a manifest of format 1: {error}") from error
        if foreign := set(self.folder.files()) - set(manifest.files) - {MANIFEST}:
            raise BundleError(f"{self.folder.uri} holds {sorted(foreign)}, which {MANIFEST} does not list; remove them")
        for name, file in manifest.files.items():
            self._copy(name, file, target / name)
        (target / MANIFEST).write_bytes(text)
        return read_bundle(target)

    def _copy(self, path: str, file: FileEntry, target: Path) -> None:
        if PurePosixPath(path).is_absolute() or ".." in PurePosixPath(path).parts:
            raise DamagedEntryError(f"{self.folder.uri} lists the file {path!r}, which leaves its folder")
        target.parent.mkdir(parents=True, exist_ok=True)
        digest, size = hashlib.sha256(), 0
        try:
            with target.open("wb") as out:
                for chunk in self.folder.chunks(path):
                    digest.update(chunk)
                    size += len(chunk)
                    out.write(chunk)
        except NoSuchEntryError as error:
            raise DamagedEntryError(f"{self.folder.uri}/{path} is missing; publish the bundle again") from error
        if (found := f"sha256:{digest.hexdigest()}") != file.sha256:
            raise DamagedEntryError(
                f"{self.folder.uri}/{path} has {found} ({size} bytes), expected {file.sha256} ({file.bytes} bytes); "
                "the file was changed or damaged: publish the bundle again"
            )


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
    expected = {f"{model}/config.pbtxt", f"{model}/1/model.onnx", CLAIM}
    found: Mapping[str, FileEntry] = entry.files
    if {path for path in found if not path.startswith(f"{BUNDLE}/")} != expected:
        raise DamagedEntryError(f"{uri}: expected the files {sorted(expected)} beside the bundle, {ENTRY} has others")
    placed = config_parameters(copied / model).get("bundle")
    if placed != entry.bundle or found[f"{model}/1/model.onnx"] != found[f"{BUNDLE}/model.onnx"]:
        raise DamagedEntryError(f"{uri}/{model} is not of bundle {entry.bundle}; publish the bundle again")
