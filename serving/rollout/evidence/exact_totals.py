"""The table of users' numbers, summed without rounding.

Whole numbers are summed by the database, in its integers of 128 bits; others in chunks, through arrays.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations_with_replacement
from typing import Any

import numpy as np
import numpy.typing as npt

from serving.rollout.evidence.database import Database
from serving.rollout.experiment.evidence import EvidenceError
from serving.rollout.statistics.exact import InexactError, units
from serving.rollout.statistics.moments import Moments
from serving.rollout.statistics.winsor import Caps

CHUNK = 1 << 20
"""Users in one array: 8 MB per column."""
WHAT = "users' numbers"
_DOUBLE_WHOLE = 2.0**53  # whole numbers up to here are exact as doubles
_HUGE = 2.0**126  # sums of whole numbers up to here are exact in the database
_GROUP = 'candidate, "day", triggered'


@dataclass(frozen=True, slots=True)
class Group:
    """Users of an arm, first exposed on a day (days since 1970), who met a caption then or not."""

    candidate: bool
    day: int
    triggered: bool


def totals(database: Database, names: Sequence[str], caps: Caps) -> dict[Group, Moments]:
    """Sums by group over the table `numbers`, each value within its caps. Raises EvidenceError."""
    capped = [_within(name, caps) for name in names]
    if _whole(database, capped):
        return _by_database(database, names, capped)
    found: dict[Group, Moments] = {}
    for group, moments in _by_arrays(database, names, capped):
        found[group] = found[group] + moments if group in found else moments
    return found


def beyond(database: Database, caps: Caps) -> dict[str, int]:
    """How many users are beyond the caps, by column. Raises EvidenceError."""
    names = list(dict.fromkeys((*caps.largest, *caps.least)))
    if not names:
        return {}
    counts = ", ".join(f"count(*) FILTER (WHERE {name} <> {_within(name, caps)})" for name in names)
    ((*found,),) = database.rows(f"SELECT {counts} FROM numbers", {}, WHAT)
    return dict(zip(names, found, strict=True))


def _within(name: str, caps: Caps) -> str:
    """SQL of a column's number within its caps."""
    number = f"least({name}, {caps.largest[name]!r})" if name in caps.largest else name
    return f"greatest({number}, {caps.least[name]!r})" if name in caps.least else number


def _whole(database: Database, capped: Sequence[str]) -> bool:
    """Whether all are whole numbers that the database can multiply and add without rounding or overflow."""
    asked = ", ".join(
        f"coalesce(bool_and({each} = trunc({each})), true), coalesce(max(abs({each})), 0)" for each in capped
    )
    ((count, *found),) = database.rows(f"SELECT count(*), {asked} FROM numbers", {}, WHAT)
    largest = max(found[1::2])
    return all(found[::2]) and largest <= _DOUBLE_WHOLE and largest**2 * count < _HUGE


def _by_database(database: Database, names: Sequence[str], capped: Sequence[str]) -> dict[Group, Moments]:
    whole = [f"CAST({each} AS HUGEINT)" for each in capped]
    asked = [f"sum({each})" for each in whole]
    asked += [f"sum({left} * {right})" for left, right in combinations_with_replacement(whole, 2)]
    sql = f"SELECT {_GROUP}, count(*), {', '.join(asked)} FROM numbers GROUP BY {_GROUP}"
    found = {}
    for candidate, day, triggered, count, *rest in database.rows(sql, {}, WHAT):
        sums = tuple(units(number) for number in rest)
        size = len(names)
        found[Group(candidate, day, triggered)] = Moments(tuple(names), count, sums[:size], sums[size:])
    return found


def _by_arrays(database: Database, names: Sequence[str], capped: Sequence[str]) -> Iterator[tuple[Group, Moments]]:
    chosen = ", ".join(f"{each} AS {name}" for name, each in zip(names, capped, strict=True))
    ((end,),) = database.rows("SELECT coalesce(max(rowid), -1) + 1 FROM numbers", {}, WHAT)
    for start in range(0, end, CHUNK):
        sql = f"SELECT {_GROUP}, {chosen} FROM numbers WHERE rowid >= $start AND rowid < $end"
        yield from _grouped(database.arrays(sql, {"start": start, "end": start + CHUNK}, WHAT), names)


def _grouped(chunk: Mapping[str, npt.NDArray[Any]], names: Sequence[str]) -> Iterator[tuple[Group, Moments]]:
    keys = (chunk["day"].astype(np.int64) * 2 + chunk["candidate"]) * 2 + chunk["triggered"]
    for key in np.unique(keys).tolist():
        chosen = keys == key
        try:
            moments = Moments.of({name: chunk[name][chosen] for name in names})
        except InexactError as cause:
            raise EvidenceError(f"{WHAT} cannot be summed: {cause}") from cause
        yield Group(bool(key // 2 % 2), key // 4, bool(key % 2)), moments
