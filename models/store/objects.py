"""A store in an object store, reached by fsspec (S3 by s3fs)."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fsspec

from models.store.entry import CLAIM
from models.store.errors import ModelStoreError, NoSuchEntryError, StoreUnreachableError

EXCLUSIVE = frozenset({"s3", "s3a"})
"""Protocols whose driver creates an object only where there is none, in one step of the server (If-None-Match: *)."""
_TAKEN = frozenset({"PreconditionFailed", "ConditionalRequestConflict", "412", "409"})
CHUNK = 8 << 20
"""Bytes read at a time."""


@dataclass(frozen=True, slots=True)
class ObjectFolder:
    """A prefix of an object store. Folders are what its keys say; they exist as soon as something is in them."""

    uri: str
    filesystem: Any
    root: str

    def below(self, path: str) -> ObjectFolder:
        return ObjectFolder(f"{self.uri}/{path}", self.filesystem, f"{self.root}/{path}")

    def folders(self) -> list[str]:
        with self._speaking("listed"):
            try:
                found = self.filesystem.ls(self.root, detail=True)
            except FileNotFoundError:
                return self._empty()
            return sorted(str(each["name"]).rsplit("/", 1)[-1] for each in found if each["type"] == "directory")

    def files(self) -> dict[str, int]:
        with self._speaking("listed"):
            found = self.filesystem.find(self.root, detail=True)
            if not found:
                self._empty()
            cut = len(self.root) + 1
            return {path[cut:]: int(info["size"] or 0) for path, info in found.items() if not path.endswith("/")}

    def has(self, path: str) -> bool:
        with self._speaking("read"):
            try:
                return bool(self.filesystem.info(f"{self.root}/{path}")["type"] == "file")  # isfile hides every error
            except FileNotFoundError:
                return False

    def claim(self, content: bytes) -> bool:
        self._refuse_unless_exclusive()
        if not self._create(CLAIM, content):
            return False
        # A server that does not know If-None-Match ignores it and overwrites: two publishers could share a number.
        if self._create(CLAIM, content):
            raise ModelStoreError(
                f"{self.uri}: the server overwrites an object that it was asked to create only where there is none "
                "(If-None-Match: *), so that two Jobs could publish the same number; use a server that knows "
                "conditional writes, or a file system"
            )
        return True

    def write(self, path: str, content: bytes) -> None:
        with self._speaking("written"):
            self.filesystem.pipe_file(f"{self.root}/{path}", content)

    def upload(self, path: str, source: Path) -> None:
        with self._speaking("written"):
            self.filesystem.put_file(str(source), f"{self.root}/{path}")

    def chunks(self, path: str) -> Iterator[bytes]:
        try:
            with self._speaking("read"), self.filesystem.open(f"{self.root}/{path}", "rb") as file:
                while data := file.read(CHUNK):
                    yield data
        except FileNotFoundError as error:
            raise NoSuchEntryError(f"{self.uri}/{path}: no such object") from error

    def _create(self, path: str, content: bytes) -> bool:
        """Create an object, or say that there is one."""
        with self._speaking("written"):
            try:
                self.filesystem.pipe_file(f"{self.root}/{path}", content, mode="create")
            except FileExistsError:
                return False
            except OSError as error:
                if _code(error) in _TAKEN:
                    return False
                raise
            return True

    def _refuse_unless_exclusive(self) -> None:
        protocol = self.uri.partition("://")[0]
        if protocol not in EXCLUSIVE:
            raise ModelStoreError(
                f"{self.uri}: publishing over {protocol}:// is not supported, as its driver does not create an object "
                "exclusively; publish to a path or to s3:// (reading works over any driver)"
            )

    def _empty(self) -> list[str]:
        """No keys below a prefix is an empty folder; but there must be a bucket."""
        bucket = self.root.partition("/")[0]
        if self.uri.partition("://")[0] in EXCLUSIVE and not self.filesystem.exists(bucket):
            raise NoSuchEntryError(f"{self.uri}: there is no bucket {bucket!r}; make it or correct the URI")
        return []

    @contextmanager
    def _speaking(self, done: str) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError as error:
            if _code(error) == "NoSuchBucket":
                raise NoSuchEntryError(f"{self.uri}: there is no such bucket; make it or correct the URI") from error
            raise
        except PermissionError as error:
            raise StoreUnreachableError(
                f"model store {self.uri} cannot be {done}: the server refuses the credentials ({error}); "
                "check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and what they may do in this bucket"
            ) from error
        except _driver_errors() as error:
            raise StoreUnreachableError(
                f"model store {self.uri} cannot be {done} ({type(error).__name__}: {error}); check the address "
                f"(AWS_ENDPOINT_URL is {os.environ.get('AWS_ENDPOINT_URL', 'not set')}), the credentials "
                "(AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY) and the network"
            ) from error


def open_objects(uri: str) -> ObjectFolder | str:
    """The folder of a URI, or a path where the URI names one of this machine.

    Raises:
        ModelStoreError: the URI's scheme is unknown, or its driver is not installed.
    """
    try:
        # No cached listings: what other publishers do must be seen.
        filesystem, root = fsspec.url_to_fs(uri, use_listings_cache=False, skip_instance_cache=True)
    except (ValueError, ImportError) as error:
        raise ModelStoreError(
            f"{uri}: {error}; give a path, s3://bucket/folder, or another URI whose fsspec driver is installed"
        ) from error
    if "file" in ((filesystem.protocol,) if isinstance(filesystem.protocol, str) else filesystem.protocol):
        return str(root)
    return ObjectFolder(uri.rstrip("/"), filesystem, str(root).rstrip("/"))


def _driver_errors() -> tuple[type[Exception], ...]:
    """botocore's own errors (no credentials, no answer) are no OSErrors; it is loaded only where S3 is used."""
    module = sys.modules.get("botocore.exceptions")
    return (OSError,) if module is None else (OSError, module.BotoCoreError, module.ClientError)


def _code(error: BaseException | None) -> str | None:
    """The server's error code, which the driver keeps in the error's cause."""
    while error is not None:
        response = getattr(error, "response", None)
        if isinstance(response, dict):
            return str(response.get("Error", {}).get("Code"))
        error = error.__cause__
    return None
