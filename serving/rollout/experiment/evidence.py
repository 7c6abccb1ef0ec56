"""What an experiment has seen: asked of a source, answered as sufficient statistics."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta

from serving.rollout.experiment.spec import Column
from serving.rollout.statistics.moments import Moments


class EvidenceError(Exception):
    """Evidence that cannot be had now; the message says why. It is asked for again, and is never taken for a pass."""


@dataclass(frozen=True, slots=True)
class EvidenceQuery:
    """What is asked.

    Users belong to the arm and the time of their first exposure. Only those whose attribution window has closed at
    `as_of` are in the sums: their numbers are final, so each look adds users and changes none, which is what the
    sequential bounds are about. `caps` are the largest value of a column that counts.
    """

    experiment: str
    uid: str
    arms: tuple[str, str]
    """Stable and candidate."""
    columns: tuple[Column, ...]
    before: tuple[Column, ...]
    """Columns that are also wanted from before the first exposure (`Column.before`)."""
    window: timedelta
    before_span: timedelta
    as_of: datetime
    caps: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Quality:
    """What was set aside or noticed while joining. None of it is silent."""

    duplicates: int = 0
    """Events sent again with an id that was there."""
    late: int = 0
    """Outcomes that arrived after their user's window had closed: they count, and changed an earlier look."""
    unmatched: int = 0
    """Outcomes of users without exposure."""
    switched: int = 0
    """Users exposed in both arms: left out of the sums."""
    capped: Mapping[str, int] = field(default_factory=dict)
    """Users above the cap, by column."""


@dataclass(frozen=True, slots=True)
class Day:
    """Users first exposed on that day (UTC), by arm."""

    day: date
    moments: Mapping[str, Moments]


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is answered. Every mapping has both arms."""

    as_of: datetime
    exposed: Mapping[str, int]
    """Users exposed so far, their window open or closed: what the sample ratio is checked on."""
    moments: Mapping[str, Moments]
    triggered: Mapping[str, Moments]
    """Those of them to whom a candidate with a caption was ranked at their first exposure."""
    days: tuple[Day, ...] = ()
    quality: Quality = Quality()


@dataclass(frozen=True, slots=True)
class Reading:
    """What a guardrail reads now. `value` None: no data, which is no pass."""

    name: str
    value: float | None
    limit: float
    detail: str = ""

    @property
    def breached(self) -> bool:
        """Whether the limit is passed."""
        return self.value is not None and self.value > self.limit
