"""What the metrics say at a moment. Pure: evidence in, a look out.

The headline is the relative effect with its interval (Fieller's, CUPED where there is a time before). Secondary
metrics and guardrails are always-valid whatever the primary's method is, as they are shown at every look.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from models.experiments.assignment import STABLE
from serving.rollout.experiment.desired import CANDIDATE
from serving.rollout.experiment.durations import length
from serving.rollout.experiment.estimates import Bounds, Measured, good, measure
from serving.rollout.experiment.evidence import Evidence, Quality
from serving.rollout.experiment.looks import Rule, early, overdue, rule
from serving.rollout.experiment.sentences import interval, percent, span
from serving.rollout.experiment.spec import ExperimentSpec, Margin, Metric
from serving.rollout.experiment.state import Estimate, Look, Outcome, State
from serving.rollout.statistics.effect import Effect
from serving.rollout.statistics.moments import Moments
from serving.rollout.statistics.sequence import Interval, bound, one_sided_bound, tuning
from serving.rollout.statistics.several import bonferroni
from serving.rollout.statistics.srm import RatioWatch


def analyse(spec: ExperimentSpec, evidence: Evidence, state: State, now: datetime) -> Look:
    """A look at the evidence. What cannot be computed is pending and says why; it is never a pass.

    Both lanes are equally wide at every moment, so the arms' sizes are compared with 1:1 throughout.
    """
    users = (evidence.moments[STABLE].count, evidence.moments[CANDIDATE].count)
    exposed = (evidence.exposed[STABLE], evidence.exposed[CANDIDATE])
    judged = _ready(spec, state, users) or rule(spec, state, sum(users))
    primary = measure(
        spec.primary_metric, evidence.moments, level=1 - spec.analysis.alpha, bounds=_planned(judged.bound)
    )
    guardrails = tuple(_guardrail(spec, margin, evidence.moments, users) for margin in spec.metric_guardrails)
    outcome, because = _outcome(spec, state, judged, primary, guardrails)
    return Look(
        at=now,
        users=users,
        exposed=exposed,
        ratio_p=RatioWatch(least_p=state.ratio_least_p).look(exposed, (1, 1)).least_p,
        share=spec.schedule.stages[state.stage].share,
        primary=_told(primary.estimate, judged),
        secondary=_secondary(spec, evidence.moments),
        guardrails=guardrails,
        variance_left=1.0 if primary.effect is None else primary.effect.variance_left,
        outcome=outcome,
        because=because,
        breached=tuple(
            margin.metric.name
            for margin, found in zip(spec.metric_guardrails, guardrails, strict=True)
            if worse(margin, found)
        ),
        triggered=_triggered(spec, evidence),
        information=None if primary.effect is None else judged.information,
        quality=_quality(evidence.quality),
    )


def worse(margin: Margin, found: Estimate) -> bool:
    """Whether the metric is shown to have lost more than the margin."""
    best = found.high if good(margin.metric) > 0 else found.low
    return best is not None and good(margin.metric) * best < -margin.margin


def no_worse(margin: Margin, found: Estimate) -> bool:
    """Whether the metric is shown not to have lost more than the margin (non-inferiority)."""
    worst = found.low if good(margin.metric) > 0 else found.high
    return worst is not None and good(margin.metric) * worst > -margin.margin


def _ready(spec: ExperimentSpec, state: State, users: tuple[int, int]) -> Rule | None:
    """Why no look may be taken at all, if that is so."""
    least = spec.analysis.minimum_users
    if min(users) < least:
        told = f"{users[0]:,} and {users[1]:,} users whose window has closed; looks begin at {least:,} in each arm"
        return Rule(None, overdue(spec, state), because=told)
    before = state.looks[-1].users if state.looks else (0, 0)
    if min(users[0] - before[0], users[1] - before[1]) < 0:
        told = f"{users[0]:,} and {users[1]:,} users, fewer than the {before[0]:,} and {before[1]:,} of the look before"
        return Rule(None, False, because=told)
    return None


def _planned(half: float | None) -> Bounds:
    def ends(found: Effect) -> Interval | None:
        if half is None:
            return None
        return found.interval(half)

    return ends


def _sequence(planned: int, alpha: float) -> Bounds:
    rho = tuning(planned, alpha)
    return lambda found: found.interval(bound(found.users, alpha=alpha, rho=rho))


def _one_sided(planned: int, alpha: float) -> Bounds:
    """Each end by itself holds at level alpha, at any time."""
    rho = tuning(planned, alpha)

    return lambda found: found.interval(one_sided_bound(found.users, alpha=alpha, rho=rho))


def _guardrail(
    spec: ExperimentSpec, margin: Margin, moments: Mapping[str, Moments], users: tuple[int, int]
) -> Estimate:
    enough = min(users) >= spec.analysis.minimum_users
    bounds = _one_sided(spec.analysis.planned_users, margin.alpha) if enough else _planned(None)
    found = measure(margin.metric, moments, level=1 - margin.alpha, bounds=bounds).estimate
    if enough or found.because:
        return found
    return found.model_copy(update={"because": f"looks begin at {spec.analysis.minimum_users:,} users in each arm"})


def _secondary(spec: ExperimentSpec, moments: Mapping[str, Moments]) -> tuple[Estimate, ...]:
    if not spec.secondary_metrics:
        return ()
    alphas = bonferroni(spec.analysis.alpha, {metric.name: 1.0 for metric in spec.secondary_metrics})
    return tuple(_always(spec, metric, moments, alphas[metric.name]) for metric in spec.secondary_metrics)


def _triggered(spec: ExperimentSpec, evidence: Evidence) -> Estimate | None:
    if not all(evidence.triggered[arm].count for arm in (STABLE, CANDIDATE)):
        return None
    return _always(spec, spec.primary_metric, evidence.triggered, spec.analysis.alpha)


def _always(spec: ExperimentSpec, metric: Metric, moments: Mapping[str, Moments], alpha: float) -> Estimate:
    bounds = _sequence(spec.analysis.planned_users, alpha)
    return measure(metric, moments, level=1 - alpha, bounds=bounds).estimate


def _told(estimate: Estimate, judged: Rule) -> Estimate:
    if judged.bound is not None or estimate.relative is None or not judged.because:
        return estimate
    return estimate.model_copy(update={"because": judged.because})


def _outcome(
    spec: ExperimentSpec, state: State, judged: Rule, primary: Measured, guardrails: tuple[Estimate, ...]
) -> tuple[Outcome, str]:
    undecided = Outcome.INCONCLUSIVE if judged.final else Outcome.PENDING
    found = primary.estimate
    if judged.bound is None or primary.effect is None:
        return undecided, judged.because if judged.bound is None else found.because
    if found.low is None or found.high is None:
        return undecided, f"the interval of {found.metric} has no end"
    sign = good(spec.primary_metric)
    worst, best = min(sign * found.low, sign * found.high), max(sign * found.low, sign * found.high)
    if best < 0:
        return Outcome.HARM, f"the whole interval is on the bad side of 0: {interval(found)}"
    if worst <= 0:
        return undecided, f"the interval includes 0: {interval(found)}"
    better = f"the whole interval is on the good side of 0: {interval(found)}"
    if early(spec, state):
        left = length(spec.analysis.minimum_time).total_seconds() - state.watched
        return Outcome.PENDING, f"{better}; a win needs minimumTime, {span(left)} more"
    open_ones = [
        f"{found.metric} is not yet shown to lose less than {percent(-margin.margin)} ({interval(found)})"
        for margin, found in zip(spec.metric_guardrails, guardrails, strict=True)
        if not no_worse(margin, found)
    ]
    if open_ones:
        return undecided, f"{better}; but {'; '.join(open_ones)}"
    return Outcome.WIN, better


def _quality(quality: Quality) -> dict[str, int]:
    counts = {name: getattr(quality, name) for name in ("duplicates", "late", "unmatched", "switched")}
    counts |= {f"capped {column}": users for column, users in quality.capped.items()}
    return {name: count for name, count in counts.items() if count}
