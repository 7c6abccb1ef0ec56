"""What is asked of history: the quantiles that caps are made of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from serving.rollout.experiment.spec import Column
from serving.rollout.statistics.winsor import CapRule


@dataclass(frozen=True, slots=True)
class QuantilesQuery:
    """Which caps are wanted, over events of `span` (its end not included).

    A user's numbers are those of a `window` from the first event on that closes within the span; without a window those
    of the whole span.
    """

    columns: Mapping[Column, CapRule]
    span: tuple[datetime, datetime]
    window: timedelta | None = None


def nobody(query: QuantilesQuery) -> str:
    """What is told where nobody has numbers to cap by."""
    start, end = (moment.isoformat(timespec="seconds") for moment in query.span)
    whole = "" if query.window is None else f" whose window of {query.window} has closed"
    return f"there are no events from {start} to {end}{whole}: numbers are not capped"
