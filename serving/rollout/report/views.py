"""The primary metric among users of single days: by day of first exposure, by day of the week, early against late.

Descriptive, and never a verdict: an interval here is one that may be read once, and one of twenty misses the truth.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from math import sqrt
from operator import add

from scipy.special import ndtr, ndtri

from models.experiments.assignment import STABLE
from serving.rollout.experiment.desired import CANDIDATE
from serving.rollout.experiment.estimates import Measured, measure
from serving.rollout.experiment.evidence import Day, Evidence
from serving.rollout.experiment.spec import ExperimentSpec
from serving.rollout.report import words
from serving.rollout.report.document import DayView, GroupView
from serving.rollout.statistics.effect import Effect
from serving.rollout.statistics.moments import Moments
from serving.rollout.statistics.sequence import Interval

LEVEL = 0.95
_FADED = 0.05
"""Below this p-value the lift of early and late users is called different."""
_WEEK = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
ByArm = Mapping[str, Moments]


@dataclass(frozen=True, slots=True)
class Views:
    """Empty where there are no days."""

    days: tuple[DayView, ...] = ()
    weekdays: tuple[GroupView, ...] = ()
    novelty: str | None = None


def views(spec: ExperimentSpec, evidence: Evidence) -> Views:
    """Look at the evidence's days."""
    days = sorted((day for day in evidence.days if _both(day.moments)), key=lambda day: day.day)
    if not days:
        return Views()
    by_day = tuple(
        DayView.model_validate({**_view(spec, each.day.isoformat(), each.moments), "day": each.day}) for each in days
    )
    return Views(by_day, _weekdays(spec, days), _novelty(spec, days))


def _weekdays(spec: ExperimentSpec, days: Sequence[Day]) -> tuple[GroupView, ...]:
    found = []
    for number, name in enumerate(_WEEK):
        same = [each.moments for each in days if each.day.weekday() == number]
        if same:
            found.append(GroupView.model_validate(_view(spec, name, _sum(same))))
    return tuple(found)


def _novelty(spec: ExperimentSpec, days: Sequence[Day]) -> str | None:
    """Whether users of the first half of the days were moved otherwise than those of the second half."""
    half = len(days) // 2
    if half < 1:
        return None
    early, late = (_measured(spec, _sum([each.moments for each in part])) for part in (days[:half], days[half:]))
    if early.effect is None or late.effect is None:
        return None
    first, second = early.effect.relative, late.effect.relative
    z = (second - first) / sqrt(early.effect.relative_se**2 + late.effect.relative_se**2)
    p = float(2 * ndtr(-abs(z)))
    lifts = (
        f"users first seen in the first {half} days were moved by {words.percent(first)}, later ones by "
        f"{words.percent(second)} (p {words.chance(p)} for no difference)"
    )
    if p >= _FADED:
        return f"No sign that the lift fades or grows: {lifts}."
    return (
        f"The lift {'fades' if abs(second) < abs(first) else 'grows'} with time: {lifts}; an average says too little."
    )


def _view(spec: ExperimentSpec, name: str, moments: ByArm) -> dict[str, object]:
    found = _measured(spec, moments).estimate
    return {
        "name": name,
        "users_stable": moments[STABLE].count,
        "users_candidate": moments[CANDIDATE].count,
        "relative": found.relative,
        "low": found.low,
        "high": found.high,
    }


def _measured(spec: ExperimentSpec, moments: ByArm) -> Measured:
    return measure(spec.primary_metric, moments, level=LEVEL, bounds=_once)


def _once(found: Effect) -> Interval:
    return found.interval(float(ndtri((1 + LEVEL) / 2)))


def _sum(parts: Sequence[ByArm]) -> ByArm:
    return {arm: reduce(add, (each[arm] for each in parts)) for arm in (STABLE, CANDIDATE)}


def _both(moments: ByArm) -> bool:
    return all(arm in moments and moments[arm].count > 0 for arm in (STABLE, CANDIDATE))
