"""What an experiment will do, said before it is started: schedule, shortest and longest life, what is doubtful."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from models.experiments.latency import SECONDS
from serving.rollout.experiment.durations import length
from serving.rollout.experiment.spec import (
    Aggregate,
    ExperimentSpec,
    Method,
    Metric,
    OperationalKind,
    Promotion,
)
from serving.rollout.kubernetes.values import unpromotable
from serving.rollout.traffic import Traffic, needed_per_day, traffic

WEEK = timedelta(days=7)


@dataclass(frozen=True, slots=True)
class Step:
    """A stretch of the schedule. `after` and `hold` in seconds; `hold` None: until the verdict."""

    name: str
    share: float
    after: float
    hold: float | None


@dataclass(frozen=True, slots=True)
class Outlook:
    """What will happen, if nothing stops it. Days are counted from the first user in the candidate.

    Attributes:
        win_after_days: no win before; harm and breached guardrails end it at once.
        ends_after_days: inconclusive then.
        first_numbers_days: when the first user's attribution window has closed.
        in_experiment: percent of users that take part at the last stage, both arms.
        rankings_needed: rankings of all users in a day, by stage, without which a guardrail is never read there.
        traffic: what guardrails read at the rankings of a day that were given.
    """

    steps: tuple[Step, ...]
    first_numbers_days: float
    win_after_days: float
    ends_after_days: float
    planned_users: int
    in_experiment: float
    rankings_needed: tuple[float, ...]
    traffic: Traffic | None
    warnings: tuple[str, ...]


def outlook(spec: ExperimentSpec, rankings_per_day: float | None = None) -> Outlook:
    """Read the schedule forward."""
    analysis = spec.analysis
    planned = None if rankings_per_day is None else traffic(spec, rankings_per_day)
    steps, after = [], timedelta()
    if spec.schedule.shadow_share > 0:
        hold = length(spec.schedule.shadow_hold)
        steps.append(Step("shadow", spec.schedule.shadow_share, 0.0, hold.total_seconds()))
        after += hold
    stages = spec.schedule.stages
    for number, stage in enumerate(stages, 1):
        last = number == len(stages)
        hold = length(stage.hold)
        steps.append(
            Step(f"stage {number}", stage.share, after.total_seconds(), None if last else hold.total_seconds())
        )
        after += hold
    return Outlook(
        tuple(steps),
        _days(spec.window),
        _days(max(length(analysis.minimum_time), spec.window)),
        _days(length(analysis.maximum_time)),
        analysis.planned_users,
        min(100.0, 2 * stages[-1].share),
        needed_per_day(spec),
        planned,
        (*_warnings(spec), *(planned.faults if planned is not None else ())),
    )


def _days(time: timedelta) -> float:
    return time / timedelta(days=1)


def _warnings(spec: ExperimentSpec) -> list[str]:
    return [*_of_times(spec), *_of_metrics(spec), *_of_safety(spec)]


def _of_times(spec: ExperimentSpec) -> list[str]:
    analysis, found = spec.analysis, []
    minimum = length(analysis.minimum_time)
    if minimum < WEEK:
        found.append(f"minimumTime is {analysis.minimum_time}: less than a week does not see every day of the week")
    elif minimum % WEEK:
        found.append(f"minimumTime is {analysis.minimum_time}: days of the week count unequally; use a multiple of 7d")
    if analysis.method is not Method.ALWAYS_VALID:
        found.append(
            f"method {analysis.method} decides near plannedUsers ({analysis.planned_users:,}): with fewer users in "
            f"{analysis.maximum_time} it ends inconclusive"
        )
    return found


def _of_metrics(spec: ExperimentSpec) -> list[str]:
    found = []
    metric = spec.primary_metric
    if not metric.cuped:
        found.append(f"metric {metric.name} goes without CUPED: with a pre-period it may need far fewer users")
    if spec.analysis.minimum_users < 100:
        found.append(f"minimumUsers is {spec.analysis.minimum_users}: intervals are asymptotic, trust them from 1,000")
    if _sums(metric) and not metric.capped:
        found.append(
            f"metric {metric.name} sums values without capQuantile: a few users with huge values can hide a lift"
        )
    return found


def _sums(metric: Metric) -> bool:
    return metric.numerator.aggregate is Aggregate.SUM


def _of_safety(spec: ExperimentSpec) -> list[str]:
    found = []
    if not spec.guardrails:
        found.append("there are no guardrails: a slow or failing candidate is only noticed by what users do")
    found += [
        f"guardrail {each.name}: limit {each.limit:g} s is above {SECONDS[-1]:g} s, up to which rankings are counted: "
        "it can never be passed, and where the candidate takes longer there is no reading"
        for each in spec.guardrails
        if each.kind is OperationalKind.P99_SECONDS and not each.relative and each.limit > SECONDS[-1]
    ]
    if spec.promotion is Promotion.AUTOMATIC and not spec.metric_guardrails:
        found.append("promotion is automatic and no metric guardrail watches what the primary metric does not")
    if refusal := unpromotable(spec):
        found.append(f"the controller refuses it: {refusal}")
    for name, given in (("paused", spec.paused), ("approved", spec.approved), ("aborted", spec.aborted)):
        if given:
            found.append(f"{name} is set from the start")
    return found
