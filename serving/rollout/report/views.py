"""The primary metric by day of first exposure, by day of the week, and among users whom captions could move.

Descriptive, and never a verdict: intervals here may be read once. What is claimed of days comes from tests of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite

from scipy.special import ndtri

from models.experiments.assignment import STABLE
from serving.rollout.experiment.desired import CANDIDATE
from serving.rollout.experiment.estimates import measure
from serving.rollout.experiment.evidence import Evidence
from serving.rollout.experiment.spec import ExperimentSpec, Metric
from serving.rollout.report import words
from serving.rollout.report.document import DayView, GroupView, TriggerView
from serving.rollout.statistics.by_day import CLAIM, Day, by_weekday, trend, weekdays_alike, whole_weeks
from serving.rollout.statistics.effect import Effect, EffectError, Ratio, effect
from serving.rollout.statistics.effect import Metric as Compared
from serving.rollout.statistics.moments import Moments
from serving.rollout.statistics.sequence import Interval
from serving.rollout.statistics.triggered import trigger

LEVEL = 0.95
"""Of the intervals of one table's rows together; of an interval that stands by itself."""


@dataclass(frozen=True, slots=True)
class Views:
    """Empty where there is no evidence."""

    days: tuple[DayView, ...] = ()
    weekdays: tuple[GroupView, ...] = ()
    notes: tuple[str, ...] = ()
    trigger: TriggerView | None = None


def views(spec: ExperimentSpec, evidence: Evidence) -> Views:
    """Look at the evidence's days, and at its triggered users."""
    metric = spec.primary_metric
    days = sorted(
        (Day(each.day, each.moments[STABLE], each.moments[CANDIDATE]) for each in evidence.days if _both(each.moments)),
        key=lambda each: each.day,
    )
    weekdays = by_weekday(days)
    return Views(
        tuple(_day(metric, each, len(days)) for each in days),
        tuple(_group(metric, *each, of=len(weekdays)) for each in weekdays),
        _notes(metric, days) if days else (),
        _trigger(metric, evidence),
    )


def _notes(metric: Metric, days: Sequence[Day]) -> tuple[str, ...]:
    """What days may be claimed to show: nothing before two whole weeks of them."""
    try:
        used = whole_weeks(_compared(metric, cuped=False).value, days)
    except EffectError as error:
        return (f"Nothing is said of days yet: {error}.",)
    return _said(metric, used, _novelty), _said(metric, used, _weekdays)


def _said(metric: Metric, days: Sequence[Day], say: Callable[[Compared, Sequence[Day]], str]) -> str:
    """A sentence about days, with CUPED where that can be computed in each of them."""
    if metric.cuped:
        try:
            return say(_compared(metric, cuped=True), days)
        except EffectError:
            pass  # a day without a time before: the plain numbers follow
    try:
        return say(_compared(metric, cuped=False), days)
    except EffectError as error:
        return f"Nothing can be said of days: {error}."


def _novelty(metric: Compared, days: Sequence[Day]) -> str:
    found = trend(metric, days)
    total = effect(metric, *(_sum([getattr(each, arm) for each in days]) for arm in ("stable", "candidate")))
    moves = f" by {words.percent(found.slope)} of stable a day" if found.slope is not None else ""
    basis = f"(p {words.chance(found.p_value)} for no trend, {found.days} days)"
    if found.p_value > CLAIM:
        return f"No sign that the lift fades or grows with the day of first exposure: it moves{moves} {basis}."
    known = _once(total).excludes(0.0)
    way = "moves" if not known or found.slope is None else "fades" if found.slope * total.relative < 0 else "grows"
    return f"The lift {way} with the day of first exposure,{moves} {basis}; an average says too little."


def _weekdays(metric: Compared, days: Sequence[Day]) -> str:
    p = weekdays_alike(metric, days)
    said = "Days of the week differ in their lift" if p <= CLAIM else "No sign that days of the week differ"
    return f"{said} (p {words.chance(p)} for all alike)."


def _trigger(metric: Metric, evidence: Evidence) -> TriggerView | None:
    """None where too few users of an arm were triggered."""
    everyone = (evidence.moments[STABLE], evidence.moments[CANDIDATE])
    triggered = (evidence.triggered[STABLE], evidence.triggered[CANDIDATE])
    if min(each.count for each in triggered) < 2:
        return None
    try:
        found = trigger(_compared(metric, cuped=False).value, everyone, triggered)
    except EffectError:
        return None
    return TriggerView(
        share=found.share,
        among=_view("users who were ranked captioned items", found.triggered),
        diluted=_view("all users, the others taken to be untouched", found.diluted),
        others=_view("users who were not", found.others) if found.others is not None else None,
        sizes_p=found.sizes.p_value,
    )


def _view(name: str, found: Effect) -> GroupView:
    ends = _once(found)
    relative, low, high = (value if isfinite(value) else None for value in (found.relative, ends.low, ends.high))
    return GroupView(
        name=name,
        users_stable=found.stable.users,
        users_candidate=found.candidate.users,
        relative=relative,
        low=low,
        high=high,
    )


def _day(metric: Metric, day: Day, of: int) -> DayView:
    own = _group(metric, day.day.isoformat(), day.stable, day.candidate, of=of)
    return DayView.model_validate({**own.model_dump(), "day": day.day})


def _group(metric: Metric, name: str, stable: Moments, candidate: Moments, *, of: int) -> GroupView:
    """One of `of` groups, whose intervals hold together (Bonferroni)."""
    level = 1 - (1 - LEVEL) / of
    found = measure(metric, {STABLE: stable, CANDIDATE: candidate}, level=level, half=lambda _: _half(level)).estimate
    return GroupView(
        name=name,
        users_stable=stable.count,
        users_candidate=candidate.count,
        relative=found.relative,
        low=found.low,
        high=found.high,
    )


def _compared(metric: Metric, *, cuped: bool) -> Compared:
    top, bottom = metric.numerator, metric.denominator
    value = Ratio(top.name, None if bottom is None else bottom.name)
    return Compared(value, Ratio(top.before, None if bottom is None else bottom.before) if cuped else None)


def _once(found: Effect) -> Interval:
    return found.interval(_half(LEVEL))


def _half(level: float) -> float:
    return float(ndtri((1 + level) / 2))


def _sum(parts: Sequence[Moments]) -> Moments:
    total = parts[0]
    for each in parts[1:]:
        total = total + each
    return total


def _both(moments: Mapping[str, Moments]) -> bool:
    return all(arm in moments and moments[arm].count > 0 for arm in (STABLE, CANDIDATE))
