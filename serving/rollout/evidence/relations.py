"""Exposures and outcomes as tables of one form, wherever they are: files, a table of the database, or a SELECT."""

from __future__ import annotations

import re
from dataclasses import dataclass

from serving.rollout.evidence.database import Database, text_of
from serving.rollout.experiment.evidence import EvidenceError

_SELECT = re.compile(r"\s*(SELECT|WITH|FROM|VALUES)\b", re.IGNORECASE)
_FILE = re.compile(r"\.(parquet|csv|jsonl|ndjson|json)(\.gz|\.zst)?(\.part)?\*?$")
_TABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*){0,2}")
_NUMBER = re.compile(r"(U?(TINY|SMALL|BIG|HUGE)?INT(EGER)?|FLOAT|REAL|DOUBLE|DECIMAL.*)$")
_JSON_TYPES = {"time": "DOUBLE", "value": "DOUBLE", "received": "DOUBLE", "captioned": "BIGINT"}

EXPOSURES = ("id", "time", "uid", "user", "arm", "captioned")
OUTCOMES = ("id", "time", "user", "event")
_DEFAULTS = {"value": "1.0", "received": "NULL::DOUBLE"}
"""Of outcomes' columns that need not be there."""


@dataclass(frozen=True, slots=True)
class Relation:
    """SQL that stands for a table in FROM; `lines` when its files may end with a cut line."""

    what: str
    sql: str
    columns: tuple[str, ...]
    lines: bool


def exposures(database: Database, text: str) -> Relation:
    """With columns id, time (seconds since 1970), uid, user, arm, captioned. Raises EvidenceError."""
    return _relation(database, "exposures", text, EXPOSURES, {})


def outcomes(database: Database, text: str) -> Relation:
    """With columns id, time (seconds since 1970), user, event, value (1 if there is none), received (when it came).

    Raises:
        EvidenceError: it cannot be read, or a column is missing.
    """
    return _relation(database, "outcomes", text, OUTCOMES, _DEFAULTS)


def refuse_broken(database: Database, relation: Relation) -> None:
    """Refuse rows without what every row needs; one cut line at the end of a file of JSON lines is skipped.

    Raises:
        EvidenceError: says how many rows, and which columns they lack.
    """
    required = EXPOSURES if relation.what == "exposures" else OUTCOMES
    empty = " AND ".join(f'"{name}" IS NULL' for name in required)
    cut = f"({empty})" if relation.lines else "false"
    lacking = ", ".join(f'count(*) FILTER (WHERE NOT {cut} AND "{name}" IS NULL)' for name in required)
    sql = f"SELECT count(*) FILTER (WHERE {cut}), {lacking} FROM {relation.sql}"
    ((cuts, *counts),) = database.rows(sql, {}, relation.what)
    missing = {name: count for name, count in zip(required, counts, strict=True) if count}
    if missing:
        told = ", ".join(f"{count} without {name}" for name, count in missing.items())
        raise EvidenceError(f"{relation.what} have rows that cannot be used: {told}; repair or leave out these rows")
    if cuts:
        _refuse_more_than_ends(database, relation, empty)


def _refuse_more_than_ends(database: Database, relation: Relation, empty: str) -> None:
    sql = f"SELECT file, count(*) FROM {relation.sql} WHERE {empty} GROUP BY file HAVING count(*) > 1 ORDER BY file"
    for file, count in database.rows(sql, {}, relation.what):
        raise EvidenceError(
            f"{relation.what}: {count} lines of {file} are no JSON; expected at most one, cut by a crash. "
            "Is it a file of JSON lines? Repair it"
        )


def _relation(
    database: Database, what: str, text: str, required: tuple[str, ...], defaults: dict[str, str]
) -> Relation:
    lines = False
    if _SELECT.match(text):
        source = f"(\n{database.select(text, what)}\n)"
    elif found := _FILE.search(text):
        lines = "json" in found[1]
        source = _file(text, found[1], (*required, *defaults))
    elif _TABLE.fullmatch(text):
        source = ".".join(f'"{part}"' for part in text.split("."))
    else:
        raise EvidenceError(
            f"{what} is {text!r}; expected files (/folder/*.parquet, .jsonl or .csv), a table's name or a SELECT"
        )
    columns = database.columns(source, what)
    missing = [name for name in required if name not in columns]
    if missing:
        raise EvidenceError(f"{what} has columns {sorted(columns)}; {missing} must be there too: name them with AS")
    chosen = [_typed(name, columns[name], what) for name in (*required, *defaults) if name in columns]
    chosen += [f'{default} AS "{name}"' for name, default in defaults.items() if name not in columns]
    if lines:
        chosen.append("file")
    return Relation(what, f"(SELECT {', '.join(chosen)} FROM {source})", (*required, *defaults), lines)


def _file(path: str, kind: str, names: tuple[str, ...]) -> str:
    if kind == "parquet":
        return f"read_parquet({text_of(path)}, union_by_name = true)"
    if kind == "csv":
        return f"read_csv({text_of(path)}, header = true, union_by_name = true)"
    types = ", ".join(f"{text_of(name)}: {text_of(_JSON_TYPES.get(name, 'VARCHAR'))}" for name in names)
    return (
        f"read_json({text_of(path)}, format = 'newline_delimited', columns = {{{types}}}, "
        "ignore_errors = true, filename = 'file')"
    )


def _typed(name: str, kind: str, what: str) -> str:
    """A column in the type that it must have; times of a calendar become seconds since 1970, UTC."""
    if name in ("time", "received"):
        if kind.startswith(("TIMESTAMP", "DATE")):
            return f'epoch("{name}") AS "{name}"'
        _need_number(name, kind, what, "a TIMESTAMP, or seconds since 1970")
        return f'CAST("{name}" AS DOUBLE) AS "{name}"'
    if name in ("value", "captioned"):
        if name == "captioned" and kind == "BOOLEAN":
            return "CAST(captioned AS INTEGER) AS captioned"
        _need_number(name, kind, what, "a number")
        default = 'coalesce("value", 1)' if name == "value" else f'"{name}"'
        return f'CAST({default} AS DOUBLE) AS "{name}"'
    return f'CAST("{name}" AS VARCHAR) AS "{name}"'


def _need_number(name: str, kind: str, what: str, expected: str) -> None:
    if not _NUMBER.match(kind):
        raise EvidenceError(f"{what} has column {name} of type {kind}; expected {expected}")
