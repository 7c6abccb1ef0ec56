"""Where a store lies: the few operations that it needs, on a file system of this machine or on an object store.

Everything that differs between the two is in here and in `objects`: how one of several publishers at the same moment
gets a number that the others cannot get, and how a file appears whole.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from models.disk import NoRoomError
from models.files import OutsideError, inside, write_atomic
from models.store.entry import CLAIM, ENTRY
from models.store.errors import DamagedEntryError, ModelStoreError, NoSuchEntryError, StoreUnreachableError

CHUNK = 1 << 20
"""Bytes read at a time."""


class Folder(Protocol):
    """A folder; paths are relative to it, with forward slashes. Every method may raise StoreUnreachableError."""

    @property
    def uri(self) -> str:
        """What a person would type to get here."""
        ...

    def below(self, path: str) -> Folder:
        """A folder in this one, which need not exist."""
        ...

    def folders(self) -> list[str]:
        """The names of the folders directly in this one; none when it does not exist."""
        ...

    def files(self) -> dict[str, int]:
        """Every file below, at any depth, with its size; none when the folder does not exist."""
        ...

    def has(self, path: str) -> bool:
        """Whether there is such a file."""
        ...

    def claim(self, content: bytes) -> bool:
        """Make this folder, with a `claim.json`: True for exactly one of all callers ever, False for the others."""
        ...

    def write(self, path: str, content: bytes) -> None:
        """Write a file, which appears whole or not at all."""
        ...

    def upload(self, path: str, source: Path) -> None:
        """Copy a file of this machine here."""
        ...

    def chunks(self, path: str) -> Iterator[bytes]:
        """A file's content, piece by piece.

        Raises:
            NoSuchEntryError: there is no such file.
        """
        ...


@dataclass(frozen=True, slots=True)
class LocalFolder:
    """A folder of this machine, or of a volume that is mounted here. Reading needs no right to write."""

    path: Path

    @property
    def uri(self) -> str:
        return str(self.path)

    def below(self, path: str) -> LocalFolder:
        return LocalFolder(self.path / path)

    def folders(self) -> list[str]:
        with self._speaking("listed"):
            return sorted(each.name for each in self.path.iterdir() if each.is_dir()) if self.path.is_dir() else []

    def files(self) -> dict[str, int]:
        with self._speaking("listed"):
            found = (each for each in self.path.rglob("*") if not each.is_dir())
            return {each.relative_to(self.path).as_posix(): each.stat().st_size for each in found}

    def has(self, path: str) -> bool:
        with self._speaking("read"):
            return (self.path / path).is_file()

    def claim(self, content: bytes) -> bool:
        with self._speaking("written"):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            try:
                self.path.mkdir()  # atomic, also on NFS
            except FileExistsError:
                return False
            self._write(CLAIM, content)
            return True

    def write(self, path: str, content: bytes) -> None:
        with self._speaking("written"):
            self._write(path, content)

    def upload(self, path: str, source: Path) -> None:
        self.write(path, source.read_bytes())

    def chunks(self, path: str) -> Iterator[bytes]:
        with self._speaking("read"):
            try:
                file = inside(self.path, path).open("rb")
            except OutsideError as error:
                raise DamagedEntryError(f"{self.path}: {error}; publish the bundle again") from error
            except (FileNotFoundError, NotADirectoryError) as error:
                raise NoSuchEntryError(f"{self.path / path}: no such file") from error
            with file:
                while data := file.read(CHUNK):
                    yield data

    def _write(self, path: str, content: bytes) -> None:
        """Write a file; where there is no room for it, a number that is not committed goes: it only takes room."""
        try:
            write_atomic(self.path / path, content)
        except NoRoomError:
            if not (self.path / ENTRY).exists():
                shutil.rmtree(self.path, ignore_errors=True)
            raise

    @contextmanager
    def _speaking(self, done: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise StoreUnreachableError(
                f"model store {self.path} cannot be {done} ({error.strerror or error}: {error.filename}); "
                "check the path, its owner and mode, and the space left on the volume"
            ) from error


def folder_at(uri: str) -> Folder:
    """The folder that a path or a URI names.

    Raises:
        ModelStoreError: the URI's scheme is unknown here, or its driver is not installed.
    """
    if uri.startswith("pvc://"):
        raise ModelStoreError(
            f"{uri}: pvc:// names a claim in the chart's values; in a pod give the path where the claim is mounted"
        )
    if "://" not in uri:
        return LocalFolder(Path(uri).absolute())
    from models.store.objects import open_objects

    found = open_objects(uri)
    return LocalFolder(Path(found)) if isinstance(found, str) else found
