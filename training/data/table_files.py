"""Where the three Parquet tables of a data set lie: a folder of this machine or any fsspec URI."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq

TABLES = ("interactions", "items", "users")


class TableUnreadableError(Exception):
    """The file exists and is not a Parquet file, or cannot be read."""


@dataclass(frozen=True)
class TableFolder:
    """A folder with interactions.parquet, items.parquet, users.parquet and, usually, images.

    Attributes:
        location: as the caller named it.
        local: the folder's absolute path, None when it is not on this machine.
    """

    location: str
    local: Path | None
    _filesystem: Any
    _root: str

    @classmethod
    def at(cls, location: str | Path) -> "TableFolder":
        """A folder path, or a URI such as s3://bucket/folder (its fsspec driver must be installed).

        Raises:
            ValueError: the URI's protocol is unknown to fsspec.
            ImportError: its driver is not installed.
        """
        filesystem, root = fsspec.core.url_to_fs(str(location))
        local = Path(root).resolve() if "file" in _protocols(filesystem) else None
        return cls(str(location), local, filesystem, str(local) if local else root.rstrip("/"))

    def exists(self) -> bool:
        """Whether the folder is there."""
        return bool(self._filesystem.isdir(self._root))

    def path(self, name: str) -> str:
        """The place of a table, for messages."""
        return f"{self.location.rstrip('/')}/{name}.parquet"

    def has(self, name: str) -> bool:
        """Whether the table's file is there."""
        return bool(self._filesystem.isfile(f"{self._root}/{name}.parquet"))

    def read(self, name: str) -> pa.Table:
        """The whole table.

        Raises:
            TableUnreadableError: see the class.
        """
        try:
            with self._filesystem.open(f"{self._root}/{name}.parquet", "rb") as file:
                return pq.ParquetFile(file).read()
        except (pa.ArrowException, OSError) as error:
            raise TableUnreadableError(str(error).splitlines()[0]) from error

    def resolve(self, image: str) -> str | None:
        """Where a relative image path leads: an absolute path or a full URI; None when it leaves the
        folder.
        """
        if "\x00" in image or "\\" in image or PurePosixPath(image).is_absolute():
            return None
        if self.local is not None:
            target = (self.local / image).resolve()  # follows links: what counts is where the bytes lie
            return str(target) if target.is_relative_to(self.local) else None
        if ".." in PurePosixPath(image).parts:
            return None
        return str(self._filesystem.unstrip_protocol(f"{self._root}/{PurePosixPath(image)}"))

    def missing(self, places: Sequence[str]) -> set[str]:
        """Which of the resolved places hold no file; a remote folder is listed once."""
        if self.local is not None:
            return {place for place in places if not Path(place).is_file()}
        if not places:
            return set()
        present = {self._filesystem.unstrip_protocol(name) for name in self._filesystem.find(self._root)}
        return {place for place in places if place not in present}


def _protocols(filesystem: Any) -> tuple[str, ...]:
    protocol = filesystem.protocol
    return (protocol,) if isinstance(protocol, str) else tuple(protocol)
