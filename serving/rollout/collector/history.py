"""Quantiles of users' numbers in a time before an experiment: where caps come from."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from serving.rollout.collector.columns import over_events
from serving.rollout.collector.join import CutError
from serving.rollout.collector.words import known_number
from serving.rollout.evidence.quantiles import QuantilesQuery, nobody
from serving.rollout.experiment.spec import EXPOSURE, Aggregate, Column
from serving.rollout.statistics.winsor import Caps

_STARTS = """starts AS (SELECT user, min(time) AS time FROM (
SELECT user, time FROM outcomes INDEXED BY outcomes_of_user WHERE time >= :start AND time <= :last AND time < :end
UNION ALL
SELECT user, time FROM exposures INDEXED BY exposures_of_user WHERE time >= :start AND time <= :last AND time < :end
) GROUP BY user)"""
"""Users, and when their window begins: at the first event. Windows close within the span."""
_IN_WINDOW = "{0}.user = f.user AND {0}.time >= f.time AND {0}.time < f.time + :window AND {0}.time < :end"


def quantiles(connection: sqlite3.Connection, query: QuantilesQuery) -> Caps:
    """Caps over all users with any event in the span, 0 for a user without the column's; none without users.

    Raises:
        CutError: retention has deleted part of the span.
        sqlite3.Error: the database cannot be read.
    """
    start, end = (moment.timestamp() for moment in query.span)
    window = None if query.window is None else query.window.total_seconds()
    values = {
        "start": start,
        "end": end,
        "last": end if window is None else end - window,
        "window": end - start if window is None else window,  # from any event of the span it reaches the end
    }
    connection.execute("BEGIN")
    (kept_since,) = connection.execute("SELECT value FROM meta WHERE name = 'kept_since'").fetchone()
    if start < kept_since:
        raise CutError(
            f"the span starts at {query.span[0].isoformat()}; events since {kept_since:.0f} (seconds) are kept"
        )
    (users,) = connection.execute(f"WITH {_STARTS} SELECT count(*) FROM starts", values).fetchone()
    if not users:
        return Caps({}, notes=(nobody(query),))
    numbers = {column.name: _numbers(connection, column, users, values) for column in query.columns}
    connection.execute("COMMIT")
    return Caps.learned(numbers, {column.name: rule for column, rule in query.columns.items()})


def _numbers(
    connection: sqlite3.Connection, column: Column, users: int, values: Mapping[str, Any]
) -> npt.NDArray[np.float64]:
    """Users without the event are zeros: they need no row."""
    if column.event == EXPOSURE:
        number = "1" if column.aggregate is Aggregate.ANY else "count(*)"
        joined = f"exposures e INDEXED BY exposures_of_user ON {_IN_WINDOW.format('e')}"
    else:
        number = over_events(column, "true")
        event = known_number(connection, "event", column.event)
        joined = f"outcomes o INDEXED BY outcomes_of_user ON {_IN_WINDOW.format('o')} AND o.event = {event}"
    sql = f"WITH {_STARTS} SELECT {number} FROM starts f JOIN {joined} GROUP BY f.user"
    found = np.fromiter((row[0] for row in connection.execute(sql, values)), dtype=np.float64)
    return np.concatenate([found, np.zeros(users - len(found))])
