"""What the metrics say at a moment. Pure: evidence in, a look out.

The sign is judged by the interval of the difference (CUPED where there is a time before); the headline is the relative
effect, with Fieller's interval, wherever stable's value is told from 0: both exclude 0 together. Secondary metrics and
guardrails are always-valid whatever the primary's method is, as they are shown at every look.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

import numpy as np

from models.experiments.assignment import STABLE
from serving.rollout.experiment.arrivals import missing
from serving.rollout.experiment.desired import CANDIDATE
from serving.rollout.experiment.doubts import doubts, imbalance
from serving.rollout.experiment.durations import length
from serving.rollout.experiment.estimates import Half, Measured, good, measure
from serving.rollout.experiment.evidence import Evidence, Quality
from serving.rollout.experiment.looks import Rule, early, overdue, rule
from serving.rollout.experiment.senders import Suspect, senders, suspects
from serving.rollout.experiment.sentences import interval, percent, span
from serving.rollout.experiment.spec import ExperimentSpec, Margin, Metric
from serving.rollout.experiment.state import Estimate, Look, Outcome, State
from serving.rollout.statistics.moments import Moments
from serving.rollout.statistics.sequence import bound, one_sided_bound, tuning
from serving.rollout.statistics.several import bonferroni
from serving.rollout.statistics.srm import RatioWatch


def analyse(spec: ExperimentSpec, evidence: Evidence, state: State, now: datetime) -> Look:
    """A look at the evidence. What cannot be computed is pending and says why; it is never a pass.

    Both lanes are equally wide at every moment, so the arms' sizes are compared with 1:1 throughout.
    """
    users = (evidence.moments[STABLE].count, evidence.moments[CANDIDATE].count)
    exposed = (evidence.exposed[STABLE], evidence.exposed[CANDIDATE])
    judged = _ready(spec, state, users) or rule(spec, state, sum(users))
    level, planned = 1 - spec.analysis.alpha, _planned(judged.bound)
    primary = measure(spec.primary_metric, evidence.moments, level=level, half=planned)
    plain = spec.primary_metric.model_copy(update={"cuped": False})
    guardrails = tuple(_guardrail(spec, margin, evidence.moments, users) for margin in spec.metric_guardrails)
    ratio_p = RatioWatch(least_p=state.ratio_least_p).look(exposed, (1, 1)).least_p
    before_p = min(state.before_least_p, imbalance(spec, evidence))
    astray = missing(spec, evidence)
    doubted = doubts(spec, evidence, ratio_p=ratio_p, before_p=before_p, missing=astray)
    sent = senders(spec, evidence)
    odd = suspects(spec, evidence, sent)
    good_ones = _good(spec, primary, guardrails)
    resting = [_resting(spec, each, good_ones, level, planned) for each in odd] if good_ones else []
    if spec.analysis.unusual_senders == "hold":
        doubted = (*doubted, *filter(None, resting))
    outcome, because = _outcome(spec, state, judged, primary, guardrails, doubted)
    return Look(
        at=now,
        users=users,
        exposed=exposed,
        ratio_p=ratio_p,
        share=spec.schedule.stages[state.stage].share,
        primary=_told(primary.estimate, judged),
        without_cuped=measure(plain, evidence.moments, level=level, half=planned).estimate
        if spec.primary_metric.cuped
        else None,
        sums=_sums(evidence.moments),
        deviations=_deviations(evidence.moments),
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
        before_p=before_p,
        doubts=doubted,
        missing=astray,
        senders=sent,
        unlike=tuple(each.says for each in odd),
    )


def _good(spec: ExperimentSpec, primary: Measured, guardrails: tuple[Estimate, ...]) -> frozenset[str]:
    """Names of the metrics that speak for the candidate by now: the primary one is better, or a margin is kept."""
    found, sign = primary.estimate, good(spec.primary_metric)
    ends = (found.absolute_low, found.absolute_high)
    better = {found.metric} if all(end is not None and sign * end > 0 for end in ends) else set()
    margins = zip(spec.metric_guardrails, guardrails, strict=True)
    return frozenset(better | {margin.metric.name for margin, each in margins if no_worse(margin, each)})


def _resting(spec: ExperimentSpec, odd: Suspect, good_ones: frozenset[str], level: float, half: Half) -> str:
    """What speaks for the candidate only with the outcomes of a sender; empty where all would without them."""
    users = (odd.without[STABLE].count, odd.without[CANDIDATE].count)
    primary = measure(spec.primary_metric, odd.without, level=level, half=half)
    margins = tuple(_guardrail(spec, margin, odd.without, users) for margin in spec.metric_guardrails)
    lost = sorted(good_ones - _good(spec, primary, margins))
    if not lost:
        return ""
    names = " and ".join(f"`{name}`" for name in lost)
    return (
        f"{odd.says}, and without them {names} would not speak for the candidate: see whether that sender reports "
        "both arms alike, and whether somebody else has its token"
    )


def worse(margin: Margin, found: Estimate) -> bool:
    """Whether the metric is shown to have lost more than the margin."""
    if found.kept is not None:
        return not found.kept
    best = found.high if good(margin.metric) > 0 else found.low
    return best is not None and good(margin.metric) * best < -margin.margin


def no_worse(margin: Margin, found: Estimate) -> bool:
    """Whether the metric is shown not to have lost more than the margin (non-inferiority)."""
    if found.kept is not None:
        return found.kept
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


def _planned(half: float | None) -> Half:
    return lambda _: half


def _sequence(planned: int, alpha: float) -> Half:
    rho = tuning(planned, alpha)
    return lambda found: bound(found.users, alpha=alpha, rho=rho)


def _one_sided(planned: int, alpha: float) -> Half:
    """Each end by itself holds at level alpha, at any time."""
    rho = tuning(planned, alpha)
    return lambda found: one_sided_bound(found.users, alpha=alpha, rho=rho)


def _guardrail(
    spec: ExperimentSpec, margin: Margin, moments: Mapping[str, Moments], users: tuple[int, int]
) -> Estimate:
    enough = min(users) >= spec.analysis.minimum_users
    half = _one_sided(spec.analysis.planned_users, margin.alpha) if enough else _planned(None)
    found = measure(margin.metric, moments, level=1 - margin.alpha, half=half)
    if enough:
        return found.estimate.model_copy(update={"kept": _kept(margin, found, half)})
    if found.estimate.because:
        return found.estimate
    least = f"looks begin at {spec.analysis.minimum_users:,} users in each arm"
    return found.estimate.model_copy(update={"because": least})


def _kept(margin: Margin, found: Measured, half: Half) -> bool | None:
    """Whether the margin is shown to be kept (true) or broken (false); also where there is no relative interval."""
    if found.lost:
        return False
    reach = None if found.effect is None else half(found.effect)
    if found.effect is None or reach is None:
        return None
    slack = found.effect.slack(margin.margin, good(margin.metric), reach)
    return None if slack.low <= 0 <= slack.high else slack.low > 0


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
    half = _sequence(spec.analysis.planned_users, alpha)
    return measure(metric, moments, level=1 - alpha, half=half).estimate


def _sums(moments: Mapping[str, Moments]) -> dict[str, tuple[float, float]]:
    stable, candidate = moments[STABLE], moments[CANDIDATE]
    if stable.columns != candidate.columns:
        return {}
    both = zip(stable.columns, stable.totals(), candidate.totals(), strict=True)
    return {column: (left, right) for column, left, right in both}


def _deviations(moments: Mapping[str, Moments]) -> dict[str, tuple[float, float]]:
    stable, candidate = moments[STABLE], moments[CANDIDATE]
    if stable.columns != candidate.columns or min(stable.count, candidate.count) < 2:
        return {}
    left, right = (np.sqrt(np.diag(each.covariance())).tolist() for each in (stable, candidate))
    return dict(zip(stable.columns, zip(left, right, strict=True), strict=True))


def _told(estimate: Estimate, judged: Rule) -> Estimate:
    if judged.bound is not None or estimate.absolute is None or not judged.because:
        return estimate
    return estimate.model_copy(update={"because": judged.because})


def _outcome(
    spec: ExperimentSpec,
    state: State,
    judged: Rule,
    primary: Measured,
    guardrails: tuple[Estimate, ...],
    doubted: tuple[str, ...],
) -> tuple[Outcome, str]:
    undecided = Outcome.INCONCLUSIVE if judged.final else Outcome.PENDING
    found = primary.estimate
    if judged.bound is None:
        return undecided, judged.because
    if primary.lost:
        return Outcome.HARM, primary.lost
    if primary.effect is None or found.absolute_low is None or found.absolute_high is None:
        return undecided, found.because
    sign = good(spec.primary_metric)
    worst, best = sorted((sign * found.absolute_low, sign * found.absolute_high))
    if best < 0:
        return Outcome.HARM, f"the whole interval is on the bad side of 0: {interval(found)}"
    if worst <= 0:
        return undecided, f"the interval includes 0: {interval(found)}"
    better = f"the whole interval is on the good side of 0: {interval(found)}"
    if doubted:
        return undecided, f"{better}; but the sample is in doubt: {'; '.join(doubted)}"
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
