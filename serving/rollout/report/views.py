"""The primary metric by day of first exposure, by day of the week, and among users whom captions could move.

Descriptive, and never a verdict: an interval here is one that may be read once, and one of twenty misses the truth.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite

from scipy.special import ndtri

from models.experiments.assignment import STABLE
from serving.rollout.experiment.desired import CANDIDATE
from serving.rollout.experiment.estimates import measure
from serving.rollout.experiment.evidence import Day, Evidence
from serving.rollout.experiment.spec import ExperimentSpec, Metric
from serving.rollout.report import words
from serving.rollout.report.document import DayView, GroupView, TriggerView
from serving.rollout.statistics.effect import Effect, EffectError, Ratio, effect
from serving.rollout.statistics.effect import Metric as Compared
from serving.rollout.statistics.moments import Moments
from serving.rollout.statistics.sequence import Interval
from serving.rollout.statistics.views import Group, Trend, by_weekday, same_everywhere, trend, trigger

LEVEL = 0.95
_DIFFERENT = 0.05
"""Below this p-value groups are called different."""


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
    days = sorted((day for day in evidence.days if _both(day.moments)), key=lambda day: day.day)
    weekdays = by_weekday({each.day: (each.moments[STABLE], each.moments[CANDIDATE]) for each in days})
    notes = (_said(metric, _groups(days), _novelty), _said(metric, weekdays, _weekdays)) if days else ()
    return Views(
        tuple(_day(metric, each) for each in days),
        tuple(_group(metric, each) for each in weekdays),
        notes,
        _trigger(metric, evidence),
    )


def _said(metric: Metric, groups: Sequence[Group], say: Callable[[Compared, Sequence[Group]], str]) -> str:
    """A sentence about groups, with CUPED where that can be computed in each of them."""
    if metric.cuped:
        try:
            return say(_compared(metric, cuped=True), groups)
        except EffectError:
            pass  # a group without a time before: the plain numbers follow
    try:
        return say(_compared(metric, cuped=False), groups)
    except EffectError as error:
        return f"Nothing can be said: {error}."


def _novelty(metric: Compared, groups: Sequence[Group]) -> str:
    found = trend(metric, groups)
    total = effect(metric, *(_sum([getattr(each, arm) for each in groups]) for arm in ("stable", "candidate")))
    if found.p_value >= _DIFFERENT:
        return f"No sign that the lift fades or grows with the day of first exposure: {_slope(found)}."
    way = "fades" if found.slope * total.relative < 0 else "grows"
    return f"The lift {way} with the day of first exposure: {_slope(found)}; an average says too little."


def _slope(found: Trend) -> str:
    return f"{words.percent(found.slope)} a day (p {words.chance(found.p_value)} for no trend, {found.groups} days)"


def _weekdays(metric: Compared, groups: Sequence[Group]) -> str:
    p = same_everywhere(metric, groups)
    said = "No sign that days of the week differ" if p >= _DIFFERENT else "Days of the week differ in their lift"
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


def _day(metric: Metric, day: Day) -> DayView:
    own = _group(metric, Group(day.day.isoformat(), 0.0, day.moments[STABLE], day.moments[CANDIDATE]))
    return DayView.model_validate({**own.model_dump(), "day": day.day})


def _group(metric: Metric, group: Group) -> GroupView:
    found = measure(metric, {STABLE: group.stable, CANDIDATE: group.candidate}, level=LEVEL, bounds=_once).estimate
    return GroupView(
        name=group.name,
        users_stable=group.stable.count,
        users_candidate=group.candidate.count,
        relative=found.relative,
        low=found.low,
        high=found.high,
    )


def _groups(days: Sequence[Day]) -> list[Group]:
    first = days[0].day
    return [
        Group(each.day.isoformat(), float((each.day - first).days), each.moments[STABLE], each.moments[CANDIDATE])
        for each in days
        if min(each.moments[arm].count for arm in (STABLE, CANDIDATE)) > 1
    ]


def _compared(metric: Metric, *, cuped: bool) -> Compared:
    top, bottom = metric.numerator, metric.denominator
    value = Ratio(top.name, None if bottom is None else bottom.name)
    return Compared(value, Ratio(top.before, None if bottom is None else bottom.before) if cuped else None)


def _once(found: Effect) -> Interval:
    return found.interval(float(ndtri((1 + LEVEL) / 2)))


def _sum(parts: Sequence[Moments]) -> Moments:
    total = parts[0]
    for each in parts[1:]:
        total = total + each
    return total


def _both(moments: Mapping[str, Moments]) -> bool:
    return all(arm in moments and moments[arm].count > 0 for arm in (STABLE, CANDIDATE))
