"""What an experiment has seen: asked of a source, answered as sufficient statistics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta

from serving.rollout.experiment.spec import EXPOSURE, Aggregate, Column
from serving.rollout.statistics.moments import Moments


class EvidenceError(Exception):
    """Evidence that cannot be had now; the message says why. It is asked for again, and is never taken for a pass."""


@dataclass(frozen=True, slots=True)
class EvidenceQuery:
    """What is asked.

    Users belong to the arm and the time of their first exposure. Only those whose attribution window has closed at
    `as_of` are in the sums: their numbers are final, so each look adds users and changes none, which is what the
    sequential bounds are about. `caps` are the largest value of a column that counts, `floors` the least.
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
    floors: Mapping[str, float] = field(default_factory=dict)


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
    """Users above the cap or below the floor, by column."""


MOST_EVENTS = 200
"""Names in `Evidence.arrivals`, the most frequent, where all are told."""


@dataclass(frozen=True, slots=True)
class Arrived:
    """Outcomes of one event since the first exposure: of users who were exposed, and of all others."""

    exposed: int
    others: int


OWN, OTHERS = "own:", "others:"
"""Before a column's name: what one sender brought of it, and what all others did. No event's name has a colon."""


@dataclass(frozen=True, slots=True)
class BySender:
    """One sender of outcomes beside all others, by arm, over the users of the sums.

    `parts` have `sent_columns` twice, named with OWN and with OTHERS; `without` are what `Evidence.moments` would be
    had it sent nothing. `name` is its token's; "" for what was stored before names were.
    """

    name: str
    parts: Mapping[str, Moments]
    without: Mapping[str, Moments]


def sent_columns(columns: Sequence[Column]) -> tuple[Column, ...]:
    """What senders are compared in: how many events, and the sum of their values where one is asked for."""
    found = [each for each in columns if each.event != EXPOSURE]
    counts = [Column(event=each.event, aggregate=Aggregate.COUNT) for each in found]
    return tuple(dict.fromkeys((*counts, *(each for each in found if each.aggregate is Aggregate.SUM))))


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
    arrivals: Mapping[str, Arrived] | None = None
    """By event; of others than those that were asked for only where one of these has none. None: the source cannot
    tell."""
    senders: tuple[BySender, ...] = ()
    """Where outcomes are several senders'."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What a guardrail reads now. `value` None: nothing to judge by, which is no pass."""

    name: str
    value: float | None
    limit: float
    detail: str = ""
    breached: bool = False
    """The limit is surely passed: by a bound that holds over all readings of the experiment, not by the value alone."""
    few: bool = False
    """There is no value as too few rankings came: the source was asked and answered."""
    rankings: float = 0.0
    """Rankings of the candidate that the reading is about."""
    counted: bool = True
    """Decided on counts. A query of one's own has none: its limit is passed by readings in a row."""

    @property
    def above(self) -> bool:
        """Whether the value is above the limit, surely or not: no stage and no win follow."""
        return self.value is not None and self.value > self.limit

    @property
    def missing(self) -> bool:
        """Whether the source could not be read, as it is for a value that is no number."""
        return not self.few and (self.value is None or self.value != self.value)
