"""A DuckDB that reads and cannot do anything else: one database file, and files of the folders that it is given.

Queries come with an Experiment, from people who may not read everything that the controller's pod can.
"""

from __future__ import annotations

import json
import math
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import duckdb
import fsspec
import numpy as np
import numpy.typing as npt

from models.experiments.events import pseudonym
from serving.rollout.experiment.evidence import EvidenceError

Arrays = dict[str, npt.NDArray[Any]]
_SHOWN = 400


class Database:
    """One connection, used by one thread. Every method raises EvidenceError."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    def select(self, text: str, what: str) -> str:
        """The text if it is one SELECT. Raises EvidenceError, naming `what` it is."""
        with _told(what):
            statements = self._connection.extract_statements(text)
        if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
            raise EvidenceError(f"{what} is {text[:_SHOWN]!r}; expected one SELECT")
        return text.strip().removesuffix(";")

    def columns(self, relation: str, what: str) -> dict[str, str]:
        """Types of a relation's columns, by name."""
        return {row[0]: row[1] for row in self.rows(f"DESCRIBE SELECT * FROM {relation}", {}, what)}

    def run(self, sql: str, values: Mapping[str, Any], what: str) -> None:
        """Carry out a statement of ours."""
        self._execute(sql, values, what)

    def rows(self, sql: str, values: Mapping[str, Any], what: str) -> list[tuple[Any, ...]]:
        """All rows of a query."""
        cursor = self._execute(sql, values, what)
        with _told(what):
            rows: list[tuple[Any, ...]] = cursor.fetchall()
        return rows

    def named(self, sql: str, values: Mapping[str, Any], what: str) -> list[dict[str, Any]]:
        """All rows of a query, by the names of its columns."""
        cursor = self._execute(sql, values, what)
        with _told(what):
            names = [column[0] for column in cursor.description]
            return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]

    def arrays(self, sql: str, values: Mapping[str, Any], what: str) -> Arrays:
        """A query's columns as arrays; the query gives no NULL."""
        cursor = self._execute(sql, values, what)
        with _told(what):
            found = cursor.fetchnumpy()
        return {name: np.asarray(column) for name, column in found.items()}

    def _execute(self, sql: str, values: Mapping[str, Any], what: str) -> Any:
        with _told(what):
            wanted = {name for each in self._connection.extract_statements(sql) for name in each.named_parameters}
            unknown = sorted(wanted - values.keys())
            if unknown:
                raise EvidenceError(f"{what} has {_dollars(unknown)}; expected {_dollars(sorted(values))} or none")
            return self._connection.execute(sql, {name: values[name] for name in wanted})


@contextmanager
def reading(
    path: str,
    folders: Sequence[str],
    *,
    memory: str | None = None,
    threads: int | None = None,
    seconds: float | None = None,
    scratch: Path | None = None,
    key: bytes | None = None,
) -> Iterator[Database]:
    """Open a database file, or none with an empty path, for the block.

    Args:
        path: DuckDB's file in one of the folders, which is opened for reading.
        folders: prefixes of files that queries may read, and no others; s3://bucket/folder too.
        memory: most memory, 4GB for instance; then it goes on in `scratch`.
        threads: most threads.
        seconds: a statement that takes longer is ended.
        scratch: folder for what does not fit into memory; the system's for temporary files if None. It is emptied.
        key: of pseudonyms; with it queries have `pseudonym(user_id)`.

    Raises:
        EvidenceError: it cannot be opened.
    """
    with _temporary(scratch) as folder, duckdb.connect() as connection:
        with _told(f"database {path!r}"):
            _functions(connection, key)
            _register_stores(connection, folders)
            _prepare(connection, path, folders, memory, threads, folder)
        timer = threading.Timer(seconds or threading.TIMEOUT_MAX, connection.interrupt)
        timer.daemon = True
        timer.start()
        try:
            yield Database(connection)
        finally:
            timer.cancel()


@contextmanager
def _temporary(parent: Path | None) -> Iterator[str]:
    try:
        if parent is not None:
            parent.mkdir(parents=True, exist_ok=True)
        folder = tempfile.TemporaryDirectory(prefix="sightline-evidence-", dir=parent)
    except OSError as cause:
        raise EvidenceError(f"no folder for temporary files: {cause}; mount a writable one") from cause
    with folder as name:
        yield name


def text_of(value: str) -> str:
    """A string as SQL writes it."""
    return "'" + value.replace("'", "''") + "'"


def _functions(connection: Any, key: bytes | None) -> None:
    # Summed in one way whatever the order: math.fsum rounds once.
    connection.create_function("exact_sum", math.fsum, ["DOUBLE[]"], "DOUBLE")
    if key is not None:  # a function of ours, not SQL's: a query could read the definition of a macro
        connection.create_function("pseudonym", partial(pseudonym, key), ["VARCHAR"], "VARCHAR")


def _register_stores(connection: Any, folders: Sequence[str]) -> None:
    """Object stores are reached by fsspec, as models are; afresh each time, so that new files are seen."""
    for scheme in sorted({folder.partition("://")[0] for folder in folders if "://" in folder}):
        try:
            store = fsspec.filesystem(scheme, skip_instance_cache=True, use_listings_cache=False)
        except (ImportError, ValueError) as cause:
            raise EvidenceError(f"folders of {scheme}:// cannot be read: {cause}; install its fsspec driver") from cause
        connection.register_filesystem(store)


def _prepare(
    connection: Any,
    path: str,
    folders: Sequence[str],
    memory: str | None,
    threads: int | None,
    scratch: str,
) -> None:
    settings: dict[str, object] = {
        "TimeZone": "UTC",
        "preserve_insertion_order": False,
        "autoinstall_known_extensions": False,
        "autoload_known_extensions": False,
        "allowed_directories": [folder.rstrip("/") + "/" for folder in folders],
        "memory_limit": memory,
        "threads": threads,
        "temp_directory": scratch,
    }
    for name, value in settings.items():
        if value is not None:
            connection.execute(f"SET {name} = {_setting(value)}")
    connection.execute("SET enable_external_access = false")
    if path:  # after that: the file is one of the folders' too
        connection.execute(f"ATTACH {text_of(path)} AS evidence (READ_ONLY)")
        connection.execute("USE evidence")
    connection.execute("SET lock_configuration = true")


def _setting(value: object) -> str:
    if isinstance(value, list):
        return "[" + ", ".join(text_of(each) for each in value) + "]"
    return text_of(value) if isinstance(value, str) else json.dumps(value)


@contextmanager
def _told(what: str) -> Iterator[None]:
    try:
        yield
    except duckdb.InterruptException as cause:
        raise EvidenceError(f"{what} took too long and was ended") from cause
    except duckdb.Error as cause:
        raise EvidenceError(f"{what}: {_first(str(cause))[:_SHOWN]}") from cause


def _first(message: str) -> str:
    """The message itself: without the query that DuckDB shows below it, or the traceback of a store's driver above."""
    lines = message.strip().split("\n\n")[0].splitlines()
    return " ".join(line for line in lines if not line.startswith(("Traceback ", "  ")))


def _dollars(names: Sequence[str]) -> str:
    return ", ".join("$" + name for name in names)
