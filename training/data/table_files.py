"""Where the three tables of a data set lie, as Parquet, CSV or TSV: a folder of this machine or any fsspec URI."""

import gzip
import sys
import zlib
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq

from training.data.delimited import DelimitedError, read_delimited

TABLES = ("interactions", "items", "users")
PARQUET = ".parquet"
DELIMITERS = {".csv": ",", ".csv.gz": ",", ".tsv": "\t", ".tsv.gz": "\t"}
FORMATS = (PARQUET, *DELIMITERS)


class TableUnreadableError(Exception):
    """The file exists and is not what its name says, or cannot be read."""


@dataclass(frozen=True)
class TableFolder:
    """A folder with the tables interactions, items and users and, usually, images.

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

    def path(self, file: str) -> str:
        """The place of a file, for messages."""
        return f"{self.location.rstrip('/')}/{file}"

    def files(self, table: str) -> list[str]:
        """Names of the files (or folders of Parquet parts) that could be the table; one is what is wanted."""
        names = [f"{table}{suffix}" for suffix in FORMATS]
        return [name for name in names if self._filesystem.exists(f"{self._root}/{name}")]

    def others(self, table: str) -> list[str]:
        """Names of files of the table in formats that are not read."""
        names = [PurePosixPath(path).name for path in self._filesystem.ls(self._root, detail=False)]
        return sorted(name for name in names if name.split(".")[0] == table and name not in self.files(table))

    def read(self, file: str) -> pa.Table:
        """The whole table; a delimited one has text columns alone.

        Raises:
            TableUnreadableError: see the class.
        """
        place = f"{self._root}/{file}"
        try:
            if not file.endswith(PARQUET):
                return self._delimited(file, place)
            if not self._filesystem.isdir(place):
                return self._parquet(place)
            parts = sorted(path for path in self._filesystem.find(place) if path.endswith(PARQUET))
            if not parts:
                raise TableUnreadableError(f"a folder without a {PARQUET} file")
            return pa.concat_tables([self._parquet(part) for part in parts], promote_options="default")
        except (pa.ArrowException, OSError, DelimitedError, EOFError, zlib.error) as error:
            raise TableUnreadableError(str(error).splitlines()[0]) from error

    def _parquet(self, place: str) -> pa.Table:
        with self._filesystem.open(place, "rb") as file:
            return pq.ParquetFile(file).read()

    def _delimited(self, file: str, place: str) -> pa.Table:
        with self._filesystem.open(place, "rb") as opened:
            data: bytes = opened.read()
        suffix = next(suffix for suffix in DELIMITERS if file.endswith(suffix))
        return read_delimited(gzip.decompress(data) if suffix.endswith(".gz") else data, DELIMITERS[suffix])

    def text(self, name: str) -> str | None:
        """The content of a text file, None when there is none.

        Raises:
            TableUnreadableError: it is there and cannot be read, or is not UTF-8.
        """
        try:
            with self._filesystem.open(f"{self._root}/{name}", "rb") as file:
                content: bytes = file.read()
            return content.decode()
        except FileNotFoundError:
            return None
        except (OSError, UnicodeDecodeError) as error:
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


def driver_errors() -> tuple[type[Exception], ...]:
    """S3's client has errors that are no OSErrors (no credentials, no answer); it is loaded only where S3 is used."""
    module = sys.modules.get("botocore.exceptions")
    return (OSError,) if module is None else (OSError, module.BotoCoreError, module.ClientError)


def _protocols(filesystem: Any) -> tuple[str, ...]:
    protocol = filesystem.protocol
    return (protocol,) if isinstance(protocol, str) else tuple(protocol)
