"""Past visits from a file: Parquet or CSV with user, day and value, read and added up by DuckDB."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import duckdb
import numpy as np

from serving.rollout.statistics.history import Visits

NEEDED = ("user", "day", "value")
RATIO = "denominator"
_WHOLE = {"TINYINT", "SMALLINT", "INTEGER", "BIGINT", "UTINYINT", "USMALLINT", "UINTEGER"}
_READERS = {".parquet": "read_parquet", ".pq": "read_parquet", ".csv": "read_csv", ".gz": "read_csv"}


class HistoryError(Exception):
    """A history that no plan can rest on; names the file, the column and what to do."""


def visits(file: Path) -> Visits:
    """A row per user and day, values of one day added up.

    Columns: `user` (any text or number), `day` (a date, a time, or a whole number), `value`, and `denominator` if the
    metric is a ratio; others are left alone.

    Raises:
        HistoryError: no such file, a column missing, an empty or unreadable value.
    """
    reader = _READERS.get(file.suffix)
    if reader is None or not file.is_file():
        raise HistoryError(f"{file}: expected a file that is there and ends in {', '.join(_READERS)}")
    with duckdb.connect() as database:
        try:
            database.execute(f"CREATE VIEW history AS SELECT * FROM {reader}('{_quoted(str(file))}')")
            types = {str(row[0]): str(row[1]) for row in database.execute("DESCRIBE history").fetchall()}
            missing = [name for name in NEEDED if name not in types]
            if missing:
                raise HistoryError(
                    f"{file}: columns {', '.join(types)}; expected {', '.join(NEEDED)}, and {RATIO} for a ratio: "
                    f"{', '.join(missing)} is missing"
                )
            return _summed(database, file, types)
        except duckdb.Error as error:
            raise HistoryError(f"{file}: {' '.join(str(error).split())}; correct the file") from error


def _summed(database: Any, file: Path, types: dict[str, str]) -> Visits:
    day = "day" if types["day"] in _WHOLE else "date_diff('day', DATE '1970-01-01', CAST(day AS DATE))"
    parts = ["value", *([RATIO] if RATIO in types else [])]
    database.execute(
        f"""CREATE TABLE visits AS
        SELECT CAST("user" AS VARCHAR) AS name, CAST({day} AS BIGINT) AS whole_day,
               {", ".join(f"CAST({part} AS DOUBLE) AS {part}" for part in parts)} FROM history"""
    )
    for column in ("name", "whole_day", *parts):
        bad = f"{column} IS NULL" + ("" if column in ("name", "whole_day") else f" OR NOT isfinite({column})")
        (count,) = database.execute(f"SELECT count(*) FROM visits WHERE {bad}").fetchone()
        if count:
            called = {"name": "user", "whole_day": "day"}.get(column, column)
            raise HistoryError(f"{file}: {called} is empty or no number in {count:,} rows; leave them out or fill them")
    found = database.execute(
        f"""WITH names AS (SELECT name, row_number() OVER () AS id FROM (SELECT DISTINCT name FROM visits))
        SELECT id, whole_day, {", ".join(f"sum({part}) AS {part}" for part in parts)}
        FROM visits JOIN names USING (name) GROUP BY id, whole_day ORDER BY id, whole_day"""
    ).fetchnumpy()
    return Visits(
        np.asarray(found["id"], dtype=np.int64),
        np.asarray(found["whole_day"], dtype=np.int64),
        np.asarray(found["value"], dtype=np.float64),
        np.asarray(found[RATIO], dtype=np.float64) if RATIO in types else None,
    )


def _quoted(text: str) -> str:
    return text.replace("'", "''")
