"""A user's numbers as SQL: sums are rounded once, whatever order the events are in."""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Mapping

from serving.rollout.experiment.evidence import EvidenceQuery
from serving.rollout.experiment.spec import EXPOSURE, Aggregate, Column

IN_WINDOW, BEFORE = "o.time >= f.time", "o.time < f.time"
_RANKINGS = """(SELECT count(*) FROM exposures e INDEXED BY exposures_of_user WHERE e.user = f.user AND e.uid = f.uid
AND e.arm = f.arm AND e.time >= f.time AND e.time < f.time + :window)"""


class ExactSum:
    """SQL's `exact_sum(value)`: the correctly rounded sum (math.fsum), the same for any order of rows."""

    def __init__(self) -> None:
        self._values: list[float] = []
        self.step = self._values.append

    def finalize(self) -> float:
        """The sum."""
        return math.fsum(self._values)


def install(connection: sqlite3.Connection) -> None:
    """Let the connection's SQL use `exact_sum`."""
    connection.create_aggregate("exact_sum", 1, ExactSum)  # type: ignore[arg-type]


def after_exposure(column: Column, numbers: Mapping[str, int], of: str = "true") -> str:
    """SQL of the column within the window of `f`, a row of first exposures, over its outcomes `o`, or those `of` it."""
    if column.event == EXPOSURE:
        return f"{_RANKINGS} > 0" if column.aggregate is Aggregate.ANY else _RANKINGS
    return over_events(column, f"o.event = {numbers[column.event]} AND {IN_WINDOW} AND {of}")


def before_exposure(column: Column, numbers: Mapping[str, int], of: str = "true") -> str:
    """SQL of the column before the first exposure. There are no rankings of the experiment before its first."""
    if column.event == EXPOSURE:
        return "0"
    return over_events(column, f"o.event = {numbers[column.event]} AND {BEFORE} AND {of}")


def wanted(query: EvidenceQuery, numbers: Mapping[str, int], of: str = "true") -> list[str]:
    """SQL of the query's columns, those from before last, over all outcomes or those `of` it."""
    after = [after_exposure(column, numbers, of) for column in query.columns]
    return after + [before_exposure(column, numbers, of) for column in query.before]


def over_events(column: Column, condition: str) -> str:
    """SQL of the column over a group's outcomes `o` that meet a condition."""
    if column.aggregate is Aggregate.SUM:
        return f"coalesce(exact_sum(o.value) FILTER (WHERE {condition}), 0.0)"
    count = f"count(*) FILTER (WHERE {condition})"
    return f"{count} > 0" if column.aggregate is Aggregate.ANY else count
