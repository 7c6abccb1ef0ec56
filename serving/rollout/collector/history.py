"""Quantiles of users' numbers in a time before an experiment: where caps come from."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from typing import Any

import numpy as np

from serving.rollout.collector.columns import over_events
from serving.rollout.collector.join import CutError
from serving.rollout.collector.words import known_number
from serving.rollout.evidence.codec import QuantilesQuery
from serving.rollout.experiment.evidence import EvidenceError
from serving.rollout.experiment.spec import EXPOSURE, Aggregate, Column
from serving.rollout.statistics.winsor import Caps

_IN_SPAN = "time >= :start AND time < :end"


def quantiles(connection: sqlite3.Connection, query: QuantilesQuery) -> Mapping[str, float]:
    """The quantile of each column over all users with any event in the span; 0 for a user without that one.

    Raises:
        CutError: retention has deleted part of the span.
        EvidenceError: nobody did anything in the span.
        sqlite3.Error: the database cannot be read.
    """
    start, end = query.span
    values = {"start": start.timestamp(), "end": end.timestamp()}
    connection.execute("BEGIN")
    (kept_since,) = connection.execute("SELECT value FROM meta WHERE name = 'kept_since'").fetchone()
    if values["start"] < kept_since:
        raise CutError(f"the span starts at {start.isoformat()}; events since {kept_since:.0f} (seconds) are kept")
    (users,) = connection.execute(
        f"SELECT count(*) FROM (SELECT user FROM outcomes INDEXED BY outcomes_of_user WHERE {_IN_SPAN} "
        f"UNION SELECT user FROM exposures INDEXED BY exposures_of_user WHERE {_IN_SPAN})",
        values,
    ).fetchone()
    if not users:
        raise EvidenceError(f"no events from {start.isoformat()} to {end.isoformat()}: there are no numbers to cap by")
    caps = {
        column.name: _cap(connection, column, quantile, users, values) for column, quantile in query.columns.items()
    }
    connection.execute("COMMIT")
    return caps


def _cap(
    connection: sqlite3.Connection, column: Column, quantile: float, users: int, values: Mapping[str, Any]
) -> float:
    """Users without the event are zeros: they need no row."""
    if column.event == EXPOSURE:
        number = "1" if column.aggregate is Aggregate.ANY else "count(*)"
        sql = f"SELECT {number} FROM exposures INDEXED BY exposures_of_user WHERE {_IN_SPAN} GROUP BY user"
    else:
        number = over_events(column, "true")
        event = known_number(connection, column.event)
        sql = (
            f"SELECT {number} FROM outcomes o INDEXED BY outcomes_of_user "
            f"WHERE o.event = {event} AND {_IN_SPAN} GROUP BY o.user"
        )
    found = np.fromiter((row[0] for row in connection.execute(sql, values)), dtype=np.float64)
    padded = np.concatenate([found, np.zeros(users - len(found))])
    return Caps.from_history({column.name: padded}, quantile).largest[column.name]
