"""Where the assignments come from: a file, a ConfigMap through the Kubernetes API, or a key of Redis."""

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

from models.items import ItemStoreError
from serving.items.redis_link import RedisAddress, RedisLink
from serving.items.uri import is_redis
from serving.transformer.configmap import CONFIGMAP, ConfigMapName, ConfigMapSource
from serving.transformer.source_error import AssignmentSourceError

WHAT = "assignments"
KEY = "assignments"
"""The key after the database's prefix: `sightline:assignments` unless the address has another prefix."""
LARGEST = 1 << 20
REDIS_SECONDS = 2.0
_FORM = "expected a file, configmap://namespace/name, or redis://host:port/number"


class AssignmentSource(Protocol):
    """One document. `read` may block, and is called from one thread at a time."""

    def read(self) -> bytes | None:
        """The document; None where there is none, which means: no experiments. Raises `AssignmentSourceError`."""
        ...

    def close(self) -> None:
        """Let go of connections."""
        ...


class FileSource:
    """A file, or a key of a mounted ConfigMap, which the kubelet replaces by swapping a link."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> bytes | None:
        """The file's bytes; None if its folder is there and it is not."""
        try:
            with self._path.open("rb") as file:
                return file.read(LARGEST + 1)
        except FileNotFoundError as cause:
            if self._path.parent.is_dir():
                return None
            raise AssignmentSourceError(
                f"{WHAT} {self._path}: its folder is not there; mount or make it, or correct --assignments"
            ) from cause
        except OSError as cause:
            raise AssignmentSourceError(f"{WHAT} {self._path}: cannot be read: {cause.strerror or cause}") from cause

    def close(self) -> None:
        """Nothing is open between two readings."""


class RedisSource:
    """A key of Redis or Valkey."""

    def __init__(self, uri: str, environ: Mapping[str, str], timeout: float = REDIS_SECONDS) -> None:
        """`timeout` is in seconds, for connecting and for the answer. Raises `AssignmentSourceError`."""
        try:
            address = RedisAddress.parse(uri, WHAT)
            self._link = RedisLink(address, environ, timeout, WHAT)
        except ItemStoreError as cause:
            raise AssignmentSourceError(str(cause)) from cause
        self._key = f"{address.prefix}{KEY}"

    def read(self) -> bytes | None:
        """The key's bytes; None if there is no such key."""
        try:
            with self._link.client() as client:
                found: bytes | None = client.get(self._key)
        except ItemStoreError as cause:
            raise AssignmentSourceError(f"key {self._key}: {cause}") from cause
        return found

    def close(self) -> None:
        """Close the connection."""
        self._link.close()


def check_source(place: str) -> None:
    """Refuse a place that cannot be one, without connecting. Raises `AssignmentSourceError`."""
    if is_redis(place):
        try:
            RedisAddress.parse(place, WHAT)
        except ItemStoreError as cause:
            raise AssignmentSourceError(str(cause)) from cause
    elif place.startswith(CONFIGMAP):
        ConfigMapName.parse(place)
    elif urlsplit(place).scheme and "://" in place:
        raise AssignmentSourceError(f"{WHAT} {place}: cannot be read as a place; {_FORM}")


def open_source(place: str, environ: Mapping[str, str]) -> AssignmentSource:
    """The source at `place`. Nothing is asked yet. Raises `AssignmentSourceError` for a place that is none."""
    check_source(place)
    if is_redis(place):
        return RedisSource(place, environ)
    if place.startswith(CONFIGMAP):
        return ConfigMapSource(ConfigMapName.parse(place), environ)
    return FileSource(Path(place))
