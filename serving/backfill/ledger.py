"""What a shard has done so far, and its result, in the folder `--out`.

captions-<shard>-of-<shards>.parquet       the result, written whole and last: the shard's completion mark
failed-<shard>-of-<shards>.jsonl           items whose picture got no caption, and why
progress-<shard>-of-<shards>/<n>.parquet   what an unfinished run has captioned, a file per step
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import fsspec
import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from models.files import write_atomic
from serving.backfill.errors import BackfillError, PlaceError
from training.data.table_files import driver_errors

SCHEMA = pa.schema([(name, pa.string()) for name in ("item_id", "caption", "captioner", "prompt", "image", "place")])
_ADDED = frozenset({"place"})
"""Columns that files of earlier versions do not have."""


@dataclass(frozen=True, slots=True)
class Record:
    """A caption, or None for a picture that was refused; `image` is the sha256 of the picture's bytes, `place` where it
    was read.
    """

    item_id: str
    caption: str | None
    captioner: str
    prompt: str
    image: str
    place: str = ""

    @property
    def made(self) -> tuple[str, str, str]:
        """What made it, and of what: equal ones need not be made again."""
        return (self.captioner, self.prompt, self.image)


class Ledger:
    """Reads and writes a shard's files. Raises `PlaceError` for the folder, `BackfillError` for what is in it."""

    def __init__(self, out: str, shard: int, shards: int) -> None:
        self._out, self._name = out.rstrip("/"), f"{shard}-of-{shards}"
        try:
            self._files, root = fsspec.url_to_fs(out, use_listings_cache=False)
        except (ValueError, ImportError) as error:
            raise BackfillError(
                f"--out {out}: {error}; give a path, or a URI whose fsspec driver is installed"
            ) from error
        self._local = "file" in (self._files.protocol if isinstance(self._files.protocol, tuple) else ())
        self._root = str(root).rstrip("/")
        self._next = 0

    @property
    def result(self) -> str:
        """Where the shard's result is."""
        return f"{self._out}/captions-{self._name}.parquet"

    @property
    def failed(self) -> str:
        """Where it is listed which pictures got no caption."""
        return f"{self._out}/failed-{self._name}.jsonl"

    def known(self, again: bool) -> dict[str, Record]:
        """The records of a finished run (not with `again`), and over them those of an unfinished one, by item id."""
        found: dict[str, Record] = {}
        result = f"{self._root}/captions-{self._name}.parquet"
        if not again and self._ask(self._files.info, result) is not None:
            found.update(self._records(result))
        for number, path in sorted(self._steps().items()):
            found.update(self._records(path))
            self._next = number + 1
        return found

    def step(self, records: Iterable[Record]) -> None:
        """Keep what a step has made."""
        self._write(f"progress-{self._name}/{self._next}.parquet", _parquet(records))
        self._next += 1

    def failures(self, failed: Mapping[str, str]) -> str:
        """Write which items' pictures got no caption, and why; returns where."""
        name = f"failed-{self._name}.jsonl"
        lines = (orjson.dumps({"item_id": item, "failure": why}) + b"\n" for item, why in failed.items())
        self._write(name, b"".join(lines))
        return self.failed

    def finish(self, records: Iterable[Record]) -> None:
        """Write the result, then forget the steps."""
        self._write(f"captions-{self._name}.parquet", _parquet(records))
        if self._steps():
            self._ask(lambda path: self._files.rm(path, recursive=True), f"{self._root}/progress-{self._name}")

    def _steps(self) -> dict[int, str]:
        """Paths of the steps by number; what has another name (a half-written file) is none."""
        found = self._ask(lambda place: self._files.ls(place, detail=False), f"{self._root}/progress-{self._name}")
        paths = [PurePosixPath(path) for path in found or ()]
        return {int(path.stem): str(path) for path in paths if path.suffix == ".parquet" and path.stem.isdecimal()}

    def _records(self, path: str) -> dict[str, Record]:
        try:
            with self._files.open(path, "rb") as file:
                table = pq.ParquetFile(file, page_checksum_verification=True).read()
        except (pa.ArrowException, *driver_errors()) as error:
            raise BackfillError(f"{path}: cannot be read ({str(error).splitlines()[0]}); remove it") from error
        if not set(SCHEMA.names) - _ADDED <= set(table.column_names):
            raise BackfillError(f"{path}: has columns {table.column_names}, expected {SCHEMA.names}; remove the file")
        known = [name for name in SCHEMA.names if name in table.column_names]
        return {row["item_id"]: Record(**row) for row in table.select(known).to_pylist()}

    def _write(self, name: str, data: bytes) -> None:
        """A local file gets its name when it is whole; an object appears when it is whole."""
        try:
            if self._local:
                write_atomic(Path(self._root) / name, data)
            else:
                self._files.pipe_file(f"{self._root}/{name}", data)
        except driver_errors() as error:
            raise PlaceError(f"{self._out}/{name}: cannot be written ({error}); give an --out that can") from error

    def _ask(self, question: Callable[[str], Any], path: str) -> Any:
        """The file system's answer; None when there is nothing at `path`."""
        try:
            return question(path)
        except FileNotFoundError:
            return None
        except driver_errors() as error:
            raise BackfillError(
                f"--out {self._out}: cannot be used ({error}); check address and credentials"
            ) from error


def _parquet(records: Iterable[Record]) -> bytes:
    buffer = io.BytesIO()
    table = pa.Table.from_pylist([asdict(record) for record in records], schema=SCHEMA)
    pq.write_table(table, buffer, write_page_checksum=True)
    return buffer.getvalue()
