"""How long the evidence of many users takes, and how much memory.

    python -m serving.rollout.bench.evidence --users 100000000 --folder /data/bench

Three ways to the same kind of sums: rows of sums that a warehouse has made; exposures and outcomes of single users in
Parquet, joined by DuckDB; users' numbers that come in chunks and go through `Moments.of`. Each way runs in a process of
its own, whose time, processor time of all threads and peak memory are told. Making the data (about 150 bytes a user) is
not part of the time.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import duckdb
import numpy as np

from models.local_path import local_path
from serving.rollout.evidence.sql import SqlSource
from serving.rollout.experiment.evidence import EvidenceQuery
from serving.rollout.experiment.spec import Aggregate, Column, SqlEvidence
from serving.rollout.statistics.moments import Moments

START = 1_700_000_000
DAYS = 14
CHUNK = 1 << 20
CLICKS = Column(event="click", aggregate=Aggregate.SUM)
WATCHED = Column(event="watch", aggregate=Aggregate.COUNT)
QUERY = EvidenceQuery(
    experiment="captions",
    uid="u-1",
    arms=("stable", "candidate"),
    columns=(CLICKS, WATCHED),
    before=(CLICKS,),
    window=timedelta(days=1),
    before_span=timedelta(days=14),
    as_of=datetime.fromtimestamp(START + (DAYS + 2) * 86_400, UTC),
)


@dataclass(frozen=True, slots=True)
class EvidenceRow:
    """One way: seconds on the clock and of the processors, peak memory in MiB; `users` are those in the sums."""

    way: str
    users: int
    seconds: float
    cpu_seconds: float
    peak_mib: float


@dataclass(frozen=True, slots=True)
class _Clock:
    """Seconds on the clock, and of all threads of this process."""

    wall: float = 0.0
    cpu: float = 0.0

    @classmethod
    def now(cls) -> _Clock:
        return cls(time.perf_counter(), time.process_time())

    def __add__(self, other: _Clock) -> _Clock:
        return _Clock(self.wall + other.wall, self.cpu + other.cpu)

    def __sub__(self, other: _Clock) -> _Clock:
        return _Clock(self.wall - other.wall, self.cpu - other.cpu)


def measure(users: int, folder: Path, memory: str, ways: Sequence[str]) -> Iterator[EvidenceRow]:
    """Each way on so many users. `folder` keeps the data; `memory` is DuckDB's limit, beyond which it uses the disk.

    Raises:
        subprocess.CalledProcessError: a way failed; what it said is on standard error.
    """
    for way in ways:
        _PREPARED[way](users, folder)
        arguments = ["--users", str(users), "--folder", str(folder), "--memory", memory, "--one", way]
        program = [sys.executable, "-m", "serving.rollout.bench.evidence", *arguments]
        answer = subprocess.run(program, stdout=subprocess.PIPE, check=True, text=True)
        yield EvidenceRow(**json.loads(answer.stdout))


def measure_one(way: str, users: int, folder: Path, memory: str) -> EvidenceRow:
    """In this process."""
    began = _Clock.now()
    counted, drawn = _WAYS[way](users, folder, memory)
    spent = _Clock.now() - began - drawn
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return EvidenceRow(way, counted, spent.wall, spent.cpu, peak)


def _of_sums(users: int, folder: Path, _: str) -> tuple[int, _Clock]:
    given = SqlEvidence(query=f"SELECT * FROM read_parquet('{folder}/sums-{users}.parquet')")
    return _asked(SqlSource(given, folders=[str(folder)])), _Clock()


def _of_users(users: int, folder: Path, memory: str) -> tuple[int, _Clock]:
    given = SqlEvidence(
        kind="users", exposures=f"{folder}/exposures-{users}.parquet", outcomes=f"{folder}/outcomes-{users}.parquet"
    )
    source = SqlSource(given, folders=[str(folder)], memory=memory, seconds=86_400, scratch=folder / "scratch")
    return _asked(source), _Clock()


def _asked(source: SqlSource) -> int:
    return sum(each.count for each in source.evidence(QUERY).moments.values())


def _of_chunks(users: int, _: Path, __: str) -> tuple[int, _Clock]:
    """Draws numbers as it goes; the time of that is not counted."""
    draw = np.random.default_rng(0)
    total, drawn = Moments.empty(("clicks", "watched", "before")), _Clock()
    for at in range(0, users, CHUNK):
        began = _Clock.now()
        size = min(CHUNK, users - at)
        spent = draw.lognormal(1, 1, size)
        columns = {"clicks": spent, "watched": draw.poisson(2, size), "before": spent + draw.normal(size=size)}
        drawn += _Clock.now() - began
        total += Moments.of(columns)
    return total.count, drawn


def _make_events(users: int, folder: Path) -> None:
    """An exposure and an outcome per user, in no order; half of the users have outcomes."""
    arm = "CASE WHEN hash(i + 7) % 2 = 0 THEN 'stable' ELSE 'candidate' END"
    first = f"{START} + hash(who + 1) % {DAYS * 86_400}"
    _copy(
        folder / f"exposures-{users}.parquet",
        f"SELECT md5('x' || i) AS id, {first} AS time, 'u-1' AS uid, md5('u' || i) AS user, {arm} AS arm, "
        f"hash(i + 3) % 20 AS captioned FROM (SELECT i, i AS who FROM range({users}) t(i))",
    )
    _copy(
        folder / f"outcomes-{users}.parquet",
        f"SELECT md5('o' || i) AS id, {first} + hash(i + 9) % 200000 - 110000 AS time, md5('u' || who) AS user, "
        "CASE WHEN hash(i + 11) % 3 = 0 THEN 'watch' ELSE 'click' END AS event, 1.0 + hash(i + 13) % 3 AS value "
        f"FROM (SELECT i, CAST(hash(i + 5) % {users} AS BIGINT) AS who FROM range({users}) t(i))",
    )


def _make_sums(users: int, folder: Path) -> None:
    columns = {"click_sum": "a", "watch_count": "b", "click_sum_before": "c"}
    names = list(columns)
    parts = [f"sum({columns[name]}) AS sum_{name}" for name in names]
    parts += [
        f"sum({columns[left]} * {columns[right]}) AS sum_{left}__{right}"
        for place, left in enumerate(names)
        for right in names[place:]
    ]
    _copy(
        folder / f"sums-{users}.parquet",
        "SELECT CASE WHEN i % 2 = 0 THEN 'stable' ELSE 'candidate' END AS arm, "
        f"DATE '2023-11-15' + CAST(i % {DAYS} AS INTEGER) AS day, count(*) AS n, count(*) AS exposed, "
        f"{', '.join(parts)} FROM (SELECT i, CAST(hash(i) % 7 AS BIGINT) AS a, CAST(hash(i + 1) % 3 AS BIGINT) AS b, "
        f"CAST(hash(i) % 7 + hash(i + 2) % 2 AS BIGINT) AS c FROM range({users}) t(i)) GROUP BY arm, day",
    )


def _make_nothing(_: int, __: Path) -> None:
    """The numbers are drawn while they are summed."""


def _copy(out: Path, select: str) -> None:
    if out.exists():
        return
    part = out.with_suffix(".part")
    with duckdb.connect() as connection:
        connection.execute("SET preserve_insertion_order = false")
        connection.execute(f"COPY ({select}) TO '{part}' (FORMAT parquet)")
    part.rename(out)


_WAYS: dict[str, Callable[[int, Path, str], tuple[int, _Clock]]] = {
    "sums of a warehouse": _of_sums,
    "users in Parquet, DuckDB": _of_users,
    "chunks through Moments.of": _of_chunks,
}
_PREPARED: dict[str, Callable[[int, Path], None]] = dict(
    zip(_WAYS, (_make_sums, _make_events, _make_nothing), strict=True)
)


def main(argv: Sequence[str]) -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="serving.rollout.bench.evidence", description=__doc__)
    parser.add_argument("--users", type=int, default=1_000_000, help="users (default: 1,000,000)")
    parser.add_argument("--folder", type=local_path, help="keeps the data for the next run (default: none is kept)")
    parser.add_argument("--memory", default="4GB", help="most memory of DuckDB (default: 4GB)")
    parser.add_argument("--one", choices=list(_WAYS), help=argparse.SUPPRESS)
    given = parser.parse_args(argv)
    if given.one:
        sys.stdout.write(json.dumps(asdict(measure_one(given.one, given.users, given.folder, given.memory))))
        return 0
    with tempfile.TemporaryDirectory() as temporary:
        folder = given.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        for row in measure(given.users, folder, given.memory, list(_WAYS)):
            times = f"{row.seconds:>9.2f} s {row.cpu_seconds:>9.2f} s of processors"
            sys.stdout.write(f"{row.way:<26} {row.users:>12,} users {times} {row.peak_mib:>8,.0f} MiB\n")
            sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
