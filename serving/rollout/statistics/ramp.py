"""How many users a canary compares by which day: distinct users saturate, shares grow in steps, windows must close.

An arm's lane grows with the schedule's share, and a user is enrolled at the first visit after the share has reached
the user's bucket. So the users of each growth are those seen since that growth, and an arm has after `d` days
`sum over growths of (growth of the share) * (distinct users within the days since then)`. Distinct users within a
span are taken to be the same whenever the span begins.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from itertools import pairwise
from math import log

from serving.rollout.statistics.plan import PlanError


@dataclass(frozen=True, slots=True)
class Reach:
    """Distinct users of the whole service within a span of 1, 2, 3... days."""

    by_days: tuple[float, ...]

    def __post_init__(self) -> None:
        increments = [after - before for before, after in pairwise((0.0, *self.by_days))]
        if not self.by_days or increments[0] <= 0 or min(increments) < 0:
            raise PlanError(
                f"distinct users by days are {list(self.by_days)}; expected at least one number above 0, "
                "and numbers that never fall"
            )

    @classmethod
    def of(cls, daily: float, monthly: float) -> Reach:
        """From users of one day and of 28 days, with a power of the days in between.

        A real curve usually bends more: prefer one that was counted (`history.measure`).

        Raises:
            PlanError: daily users not above 0, or monthly users that are fewer, or more than 28 times as many.
        """
        if not 0 < daily <= monthly <= 28 * daily:
            raise PlanError(
                f"daily users are {daily} and monthly {monthly}; expected daily above 0, and monthly (distinct users "
                "in 28 days) of at least daily and at most 28 times daily"
            )
        power = log(monthly / daily) / log(28)
        return cls(tuple(daily * day**power for day in range(1, 29)))

    def within(self, days: float) -> float:
        """Distinct users within so many days. Beyond the known ones the curve goes on by the power of its second half.

        Raises:
            PlanError: only one day is known and more are asked for.
        """
        known = len(self.by_days)
        if days <= 0:
            return 0.0
        if days <= known:
            places = (0.0, *self.by_days)
            whole = int(days)
            return places[whole] + (days - whole) * (places[min(whole + 1, known)] - places[whole])
        if known == 1:
            raise PlanError(f"users of one day are known and {days} days are planned; give users of more days")
        half = (known + 1) // 2
        power = log(self.by_days[-1] / self.by_days[half - 1]) / log(known / half)
        return self.by_days[-1] * float((days / known) ** power)


@dataclass(frozen=True, slots=True)
class Step:
    """A stage: the share of all users that each of the two compared arms has (0 to 0.5), and for how many days."""

    share: float
    days: float


@dataclass(frozen=True, slots=True)
class Ramp:
    """A schedule's stages; the last one goes on until the end, however long it says."""

    steps: tuple[Step, ...]

    def __post_init__(self) -> None:
        shares = [step.share for step in self.steps]
        growing = all(a < b for a, b in pairwise((0.0, *shares)))
        if not shares or not growing or shares[-1] > 0.5 or min(step.days for step in self.steps) < 0:
            raise PlanError(
                f"stages are {[(step.share, step.days) for step in self.steps]}; expected at least one, shares that "
                "grow from above 0 to at most 0.5 (each of the two arms), and days of at least 0"
            )

    @property
    def starts(self) -> list[float]:
        """The day, from 0, on which each stage begins."""
        starts = [0.0]
        for step in self.steps[:-1]:
            starts.append(starts[-1] + step.days)
        return starts

    def share(self, day: float) -> float:
        """Each arm's share at that moment."""
        return self.steps[bisect_right(self.starts, day) - 1].share

    def enrolled(self, reach: Reach, day: float) -> float:
        """Users of each arm by that moment."""
        growths = [after.share - before for before, after in zip((0.0, *self._shares()), self.steps, strict=False)]
        return sum(
            growth * reach.within(day - start)
            for growth, start in zip(growths, self.starts, strict=True)
            if start < day
        )

    def _shares(self) -> tuple[float, ...]:
        return tuple(step.share for step in self.steps)


@dataclass(frozen=True, slots=True)
class Lanes:
    """Users of each arm whose window has closed by the end of each day: what an experiment's looks are made of."""

    per_arm: tuple[float, ...]

    @classmethod
    def of(cls, reach: Reach, ramp: Ramp, days: int, window_days: float) -> Lanes:
        """Raises PlanError for days or a window below 0."""
        if days < 1 or window_days < 0:
            raise PlanError(f"days is {days} and the window {window_days} days; expected at least 1 and at least 0")
        return cls(tuple(ramp.enrolled(reach, day - window_days) for day in range(1, days + 1)))

    @property
    def days(self) -> int:
        """Days that are known."""
        return len(self.per_arm)

    def informative(self, day: int) -> float:
        """Users of each arm by the end of the day: the lanes are even."""
        return self.per_arm[day - 1]
