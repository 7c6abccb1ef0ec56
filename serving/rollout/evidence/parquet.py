"""Files of exposures, JSON lines as the transformer writes them, made one Parquet file.

python -m serving.rollout.evidence.parquet '/data/exposures/*.jsonl' /archive/exposures.parquet
"""

from __future__ import annotations

import os
import secrets
import sys
from collections.abc import Sequence
from pathlib import Path

import duckdb

from models.experiments.events import Exposure
from serving.rollout.evidence.database import text_of
from serving.rollout.experiment.evidence import EvidenceError

_TYPES = {
    "time": "DOUBLE",
    "revision": "BIGINT",
    "candidates": "BIGINT",
    "captioned": "BIGINT",
    "seconds": "DOUBLE",
    "degraded": "VARCHAR[]",
    "items": "VARCHAR[]",
    "scores": "DOUBLE[]",
}
_NEEDED = ("id", "time", "experiment", "uid", "user", "arm", "captioned")


def convert(lines: str, out: Path) -> int:
    """Write the exposures of all files that `lines` names, each once, to `out`; it appears whole or not at all.

    Returns:
        Exposures written.

    Raises:
        EvidenceError: a line, other than a cut last one, is no exposure; two exposures have one id; nothing is there.
        OSError: `out` exists, or cannot be written.
    """
    if out.exists():
        raise FileExistsError(f"{out} exists already; choose another name or remove it")
    out.parent.mkdir(parents=True, exist_ok=True)
    temporary = out.with_name(f".{out.name}.{secrets.token_hex(4)}")
    try:
        with duckdb.connect() as connection:
            connection.execute("SET preserve_insertion_order = false")
            count = _copy(connection, lines, temporary)
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.rename(out)
    except duckdb.Error as cause:
        raise EvidenceError(f"{lines}: {str(cause).strip().splitlines()[0]}") from cause
    finally:
        temporary.unlink(missing_ok=True)
    return count


def _copy(connection: duckdb.DuckDBPyConnection, lines: str, out: Path) -> int:
    names = list(Exposure.model_fields)
    types = ", ".join(f"{text_of(name)}: {text_of(_TYPES.get(name, 'VARCHAR'))}" for name in names)
    connection.execute(
        f"CREATE TEMP TABLE lines AS SELECT * FROM read_json({text_of(lines)}, format = 'newline_delimited', "
        f"columns = {{{types}}}, ignore_errors = true, filename = 'file')"
    )
    lacking = " OR ".join(f'"{name}" IS NULL' for name in _NEEDED)
    empty = " AND ".join(f'"{name}" IS NULL' for name in names)
    broken = connection.execute(
        f"SELECT file, count(*) FROM lines WHERE {lacking} GROUP BY file "
        f"HAVING count(*) > 1 OR NOT bool_and({empty}) ORDER BY file LIMIT 1"
    ).fetchone()
    if broken:
        raise EvidenceError(f"{broken[0]}: {broken[1]} lines are no exposures; expected at most one, cut by a crash")
    chosen = ", ".join(f'"{name}"' for name in names)
    connection.execute(f"CREATE TEMP TABLE events AS SELECT DISTINCT {chosen} FROM lines WHERE id IS NOT NULL")
    counted = connection.execute("SELECT count(*), count(DISTINCT id) FROM events").fetchone()
    count, distinct = counted or (0, 0)
    if distinct < count:
        raise EvidenceError(
            f"{lines}: {count - distinct} ids belong to different exposures; where do these lines come from?"
        )
    if not count:
        raise EvidenceError(f"{lines}: there is no exposure in it")
    connection.execute(
        f'COPY (FROM events ORDER BY "time", id) TO {text_of(str(out))} (FORMAT parquet, COMPRESSION zstd)'
    )
    return int(count)


def main(argv: Sequence[str]) -> int:
    """Convert; 0 when done, 1 when refused, 2 for wrong arguments."""
    if len(argv) != 2:
        sys.stderr.write("expected two arguments: the files of JSON lines, '/data/*.jsonl', and the Parquet file\n")
        return 2
    try:
        count = convert(argv[0], Path(argv[1]))
    except (EvidenceError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write(f"{count:,} exposures in {argv[1]}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
