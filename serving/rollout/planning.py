"""What `sightline experiment plan` says: by which day an effect can be found, and whether this traffic can show it.

    plan(reach=Reach.of(daily=100_000, monthly=500_000), spread=Spread(cv=2.0, correlation=0.6),
         ramp=Ramp((Step(0.01, 1 / 24), Step(0.5, 27))), reading=Reading(first_day=7), wanted=0.01)

`statistics.history.measure` makes `reach` and `spread` from past visits.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from math import inf, isfinite
from typing import Any

from serving.rollout.statistics.plan import (
    Method,
    PlanError,
    Reading,
    Spread,
    cost_of_shares,
    drift,
    first_day,
    look_days,
    scale,
)
from serving.rollout.statistics.ramp import Lanes, Ramp, Reach, Step

LEAST_EFFECT, MOST_EFFECT = 1e-9, 1000.0
"""Relative effects that a plan is made for, of either sign: all people there are could not show a smaller one."""


@dataclass(frozen=True, slots=True)
class PlanDay:
    """What can be found by the end of a day.

    Attributes:
        day: from 1.
        share: each arm's share of all users at the end of the day.
        users: users of each arm whose window has closed.
        detectable, detectable_without_cuped: smallest relative effect found with the wanted power; infinite before
            the first look that counts.
    """

    day: int
    share: float
    users: float
    detectable: float
    detectable_without_cuped: float


@dataclass(frozen=True, slots=True)
class MethodPlan:
    """The same experiment read in another way: smallest effect at the end, and the day by which `wanted` is found."""

    method: Method
    detectable: float
    day: int | None


@dataclass(frozen=True, slots=True)
class Cuped:
    """What the pre-period covariate buys.

    Attributes:
        users_saved: share of the users that it saves, correlation squared.
        detectable_without, day_without: the plan without it.
    """

    correlation: float
    users_saved: float
    detectable_without: float
    day_without: int | None


@dataclass(frozen=True, slots=True)
class Costs:
    """How many times the users an even split from the first day would need.

    Attributes:
        share: because the arms end at the last stage's share instead of at half of the users each.
        ramp: because the first stages are smaller than the last.
        uneven: what the last share would cost if all other users were its comparison, instead of an equal lane.
    """

    share: float
    ramp: float
    uneven: float


@dataclass(frozen=True, slots=True)
class Plan:
    """The answer. Effects are relative: 0.01 is +1 %.

    Attributes:
        verdict: the answer in a sentence or two.
        wanted: the effect that was asked for, or None.
        seen: whether it is found within the days with the wanted power; None if none was asked for.
        day: the day by which it is.
        detectable: the smallest effect found by the last day.
        users: users of each arm whose window has closed by the last day: twice that is the spec's `plannedUsers`.
        users_needed: users of each arm that `wanted` takes; None if none was asked for.
        method: how the experiment is read.
        days: by day; weekly after 28 days, every four weeks after 84.
        methods: beside the other methods.
        cuped, costs: what a covariate buys, what shares and ramp cost.
        assumptions: what these numbers rest on.
    """

    verdict: str
    wanted: float | None
    seen: bool | None
    day: int | None
    detectable: float
    users: float
    users_needed: float | None
    method: Method
    days: tuple[PlanDay, ...]
    methods: tuple[MethodPlan, ...]
    cuped: Cuped
    costs: Costs
    assumptions: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """A document; numbers that are infinite become null."""
        return {name: _finite(value) for name, value in asdict(self).items()}


def _require_effect(wanted: float | None) -> None:
    if wanted is not None and not LEAST_EFFECT <= abs(wanted) <= MOST_EFFECT:
        raise PlanError(
            f"wanted is {wanted:g}; expected the relative effect that is to be found, 0.01 for +1 %, of a size from "
            f"{LEAST_EFFECT:g} to {MOST_EFFECT:g}"
        )


def plan(
    *,
    reach: Reach,
    spread: Spread,
    ramp: Ramp,
    reading: Reading,
    days: int = 28,
    window_days: float = 1.0,
    wanted: float | None = None,
) -> Plan:
    """Plan an experiment.

    Args:
        reach: distinct users of the service within 1, 2, 3... days.
        spread: of the metric over users, in the attribution window.
        ramp: the schedule's stages; shares are each arm's, 0 to 0.5.
        reading: method, alpha, power, the first day that counts, planned looks.
        days: the longest that the experiment may take.
        window_days: the attribution window: users count when it has closed.
        wanted: the relative effect that is to be found, 0.01 for +1 %.

    Raises:
        PlanError: numbers that no plan can be made from; nobody's window closes within `days`.
    """
    _require_effect(wanted)
    lanes = Lanes.of(reach, ramp, days, window_days)
    needed = {day: drift(lanes, day, reading) for day in look_days(1, days)}
    if not isfinite(needed[days]):
        raise PlanError(
            f"within {days} days no look counts: the first is on day {reading.first_day}, and windows close after "
            f"{window_days} days; plan more days"
        )
    by_day = _by_day(lanes, ramp, spread, needed)
    last, day = by_day[-1], _first(wanted, {each.day: each.detectable for each in by_day})
    users = None if wanted is None else 2 * (needed[days] * spread.cv_left / wanted) ** 2
    return Plan(
        _verdict(_Answer(wanted, day, last.detectable, last.users, users, days, reading)),
        wanted,
        None if wanted is None else day is not None,
        day,
        last.detectable,
        last.users,
        users,
        reading.method,
        by_day,
        _by_method(lanes, spread, reading, wanted, MethodPlan(reading.method, last.detectable, day)),
        Cuped(
            spread.correlation,
            spread.correlation**2,
            last.detectable_without_cuped,
            _first(wanted, {each.day: each.detectable_without_cuped for each in by_day}),
        ),
        _costs(reach, ramp, lanes, window_days),
        _assumptions(reach, days, window_days, reading),
    )


@dataclass(frozen=True, slots=True)
class _Answer:
    wanted: float | None
    day: int | None
    detectable: float
    users: float
    needed: float | None
    days: int
    reading: Reading


def _verdict(answer: _Answer) -> str:
    reading = answer.reading
    way = f"{reading.method}, alpha {reading.alpha:g}, power {reading.power:.0%}"
    smallest = (
        f"the smallest effect found in {answer.days} days is {_percent(answer.detectable)} "
        f"({way}; {answer.users:,.0f} users in each arm)"
    )
    if answer.wanted is None or answer.needed is None:
        return f"{smallest[0].upper()}{smallest[1:]}."
    if answer.day is not None:
        return f"An effect of {_percent(answer.wanted, sign=True)} is found by day {answer.day} ({way}); {smallest}."
    return (
        f"An effect of {_percent(answer.wanted, sign=True)} cannot be seen with this traffic: {smallest}, "
        f"{answer.detectable / abs(answer.wanted):,.1f} times as large. It takes {answer.needed:,.0f} users in each "
        f"arm, {answer.needed / answer.users:,.1f} times what {answer.days} days bring."
    )


def _percent(effect: float, *, sign: bool = False) -> str:
    digits = f"{100 * effect:+.3g}" if sign else f"{100 * effect:.3g}"
    return f"{digits} %"


def _first(wanted: float | None, detectable: Mapping[int, float]) -> int | None:
    """The day from which `wanted` is found."""
    if wanted is None:
        return None
    return next((day for day, smallest in detectable.items() if smallest <= abs(wanted)), None)


def _by_day(lanes: Lanes, ramp: Ramp, spread: Spread, needed: Mapping[int, float]) -> tuple[PlanDay, ...]:
    plain = Spread(spread.cv)
    found = []
    for day, drifted in needed.items():
        known = isfinite(drifted)
        found.append(
            PlanDay(
                day,
                ramp.share(day),
                lanes.per_arm[day - 1],
                drifted * scale(lanes, spread, day) if known else inf,
                drifted * scale(lanes, plain, day) if known else inf,
            )
        )
    return tuple(found)


def _by_method(
    lanes: Lanes, spread: Spread, reading: Reading, wanted: float | None, own: MethodPlan
) -> tuple[MethodPlan, ...]:
    found = []
    for method in Method:
        other = replace(reading, method=method)
        if method is own.method:
            found.append(own)
            continue
        smallest = drift(lanes, lanes.days, other) * scale(lanes, spread, lanes.days)
        found.append(MethodPlan(method, smallest, None if wanted is None else first_day(lanes, spread, wanted, other)))
    return tuple(found)


def _costs(reach: Reach, ramp: Ramp, lanes: Lanes, window_days: float) -> Costs:
    last = ramp.steps[-1].share
    at_once = Lanes.of(reach, Ramp((Step(last, 0.0),)), lanes.days, window_days)
    return Costs(0.5 / last, at_once.per_arm[-1] / lanes.per_arm[-1], cost_of_shares(1 - last, last))


def _assumptions(reach: Reach, days: int, window_days: float, reading: Reading) -> tuple[str, ...]:
    said = [
        "Users of later days are like those of earlier ones: in truth those who come late come seldom, and count less.",
        f"A user counts once, {window_days:g} days (the attribution window) after the first visit in the experiment.",
        "Looks are daily here (weekly after 28 days, every four weeks after 84); hourly ones find the same effects a "
        "little earlier.",
        "Users spread in the metric as they did before, and correlate with their own past as they did.",
    ]
    if reading.method is not Method.ALWAYS_VALID:
        said.append("The planned number of users is reached: these bounds are planned for it.")
    if days - window_days > len(reach.by_days):
        said.append(
            f"Distinct users are known for {len(reach.by_days)} days; beyond, the curve goes on as a power of days."
        )
    return tuple(said)


def _finite(value: Any) -> Any:
    match value:
        case float():
            return value if isfinite(value) else None
        case dict():
            return {name: _finite(each) for name, each in value.items()}
        case list() | tuple():
            return [_finite(each) for each in value]
        case _:
            return value
