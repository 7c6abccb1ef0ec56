"""An experiment's report, made from its spec and state; days of the week and novelty come from evidence, if given."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from serving.rollout.experiment.analysis import no_worse, worse
from serving.rollout.experiment.durations import length
from serving.rollout.experiment.estimates import good
from serving.rollout.experiment.evidence import Evidence
from serving.rollout.experiment.spec import ExperimentSpec, Margin, Metric
from serving.rollout.experiment.state import Estimate, KeptReading, Look, State
from serving.rollout.report import words
from serving.rollout.report.change import would_change
from serving.rollout.report.document import (
    ArmView,
    GroupView,
    LimitView,
    MetricView,
    Point,
    QualityView,
    RatioView,
    Report,
    SenderView,
)
from serving.rollout.report.how import how
from serving.rollout.report.progress import progress
from serving.rollout.report.resource import Resource
from serving.rollout.report.sentence import deciding, doubted, verdict
from serving.rollout.report.sums import sums
from serving.rollout.report.views import Views, views

_QUALITY = {
    "duplicates": "events sent again with an id that was there; counted once",
    "late": "outcomes that arrived after their user's window had closed: they count, and changed an earlier look",
    "unmatched": "outcomes of users that were never exposed; left out",
    "switched": "users exposed in both arms; left out",
}


def build(found: Resource, now: datetime, evidence: Evidence | None = None) -> Report:
    """The report as of `now`.

    Args:
        evidence: what a look asks for, with its days; None: the report has no views by day.
    """
    state = found.state
    spec = state.started if state is not None and state.started is not None else found.spec
    look = deciding(state) if state is not None else None
    detailed = _detailed(spec, state, look)
    said = verdict(spec, state, found.given_reason)
    seen = views(spec, evidence) if evidence is not None else Views()
    target = spec.target
    return Report(
        made_at=now,
        experiment=found.name,
        namespace=found.namespace,
        uid=found.uid,
        model=target.model,
        target=f"{target.kind} {target.name}",
        bundle=spec.candidate.bundle,
        bundle_id=state.bundle_id if state else None,
        started=state.exposed_since if state else None,
        ended_at=_ended(state),
        given_reason=found.given_reason,
        hypothesis=found.spec.hypothesis,
        owner=found.spec.owner,
        verdict=said,
        doubts=doubted(spec, state),
        progress=progress(spec, state, now),
        alpha=spec.analysis.alpha,
        method=str(spec.analysis.method),
        planned_users=spec.analysis.planned_users,
        points=tuple(_point(spec, each) for each in state.looks) if state else (),
        metrics=_metrics(spec, look, detailed),
        without_cuped=_without_cuped(spec, detailed),
        sums=sums(spec, detailed),
        arms=_arms(look),
        ratio=_ratio(spec, state, look),
        limits=_limits(spec, state),
        triggered=_triggered(look),
        weekdays=seen.weekdays,
        days=seen.days,
        notes=seen.notes,
        trigger=seen.trigger,
        quality=_quality(look),
        missing=tuple(look.missing.values()) if look else (),
        senders=_senders(spec, look),
        log=state.log if state else (),
        would_change=would_change(said.end, spec, state),
        how=how(spec),
        unit=_unit(spec.primary_metric),
    )


def _ended(state: State | None) -> datetime | None:
    return state.since if state is not None and state.phase.ended else None


def _point(spec: ExperimentSpec, look: Look) -> Point:
    primary = look.primary
    exposed = sum(look.exposed)
    return Point(
        at=look.at,
        share=look.share,
        users_stable=look.users[0],
        users_candidate=look.users[1],
        relative=primary.relative,
        low=primary.low,
        high=primary.high,
        extra=_extra(spec, look, primary.relative),
        extra_low=_extra(spec, look, primary.low),
        extra_high=_extra(spec, look, primary.high),
        exposed_stable=look.exposed[0],
        exposed_candidate=look.exposed[1],
        candidate_part=look.exposed[1] / exposed if exposed else None,
        ratio_p=look.ratio_p,
    )


def _extra(spec: ExperimentSpec, look: Look, relative: float | None) -> float | None:
    """A lift in the metric's own unit: times stable's mean, times the candidate's users. A ratio has no such unit."""
    if relative is None or look.primary.stable is None or spec.primary_metric.denominator is not None:
        return None
    return relative * look.primary.stable * look.users[1]


def _unit(metric: Metric) -> str:
    return "" if metric.denominator is not None else words.column(metric.numerator)


def _detailed(spec: ExperimentSpec, state: State | None, look: Look | None) -> Look | None:
    """The look that tells the other metrics: the verdict's, or the newest where the state has thinned that one."""
    if state is None or look is None:
        return look
    told = len(look.secondary) == len(spec.secondary_metrics) and len(look.guardrails) == len(spec.metric_guardrails)
    return look if told else state.looks[-1]


def _metrics(spec: ExperimentSpec, look: Look | None, detailed: Look | None) -> tuple[MetricView, ...]:
    if look is None or detailed is None:
        return ()
    margins = {each.metric.name: each for each in spec.metric_guardrails}
    found = [_metric(spec.primary_metric, look.primary, "primary", _judged(spec.primary_metric, look.primary))]
    for metric, estimate in zip(spec.secondary_metrics, detailed.secondary, strict=False):
        found.append(_metric(metric, estimate, "secondary", _judged(metric, estimate)))
    for estimate in detailed.guardrails:
        margin = margins[estimate.metric]
        judged = _kept(margin, estimate)
        view = _metric(margin.metric, estimate, "guardrail", judged)
        found.append(view.model_copy(update={"margin": margin.margin}))
    return tuple(found)


def _metric(metric: Metric, estimate: Estimate, role: str, judged: str) -> MetricView:
    return MetricView.model_validate(
        {
            **estimate.model_dump(exclude={"metric", "kept"}),
            "name": metric.name,
            "role": role,
            "meaning": words.metric(metric),
            "better": metric.direction,
            "judged": judged,
        }
    )


def _without_cuped(spec: ExperimentSpec, look: Look | None) -> MetricView | None:
    if look is None or look.without_cuped is None:
        return None
    return _metric(spec.primary_metric, look.without_cuped, "primary", _judged(spec.primary_metric, look.without_cuped))


def _judged(metric: Metric, estimate: Estimate) -> str:
    """better, worse, or neither, by the interval: the difference's, in an old state the relative one."""
    low, high = estimate.absolute_low, estimate.absolute_high
    if low is None and high is None:
        low, high = estimate.low, estimate.high
    if low is None and high is None:
        return f"no interval: {estimate.because}" if estimate.because else "no interval"
    if low is not None and low > 0:
        return "better" if good(metric) > 0 else "worse"
    if high is not None and high < 0:
        return "worse" if good(metric) > 0 else "better"
    return "no difference shown"


def _kept(margin: Margin, estimate: Estimate) -> str:
    if worse(margin, estimate):
        return "worse than its margin"
    if no_worse(margin, estimate):
        return "within its margin"
    if estimate.low is None and estimate.high is None:
        return f"not shown yet: {estimate.because}" if estimate.because else "not shown yet"
    return "not shown to be within its margin"


def _arms(look: Look | None) -> tuple[ArmView, ...]:
    if look is None:
        return ()
    values = (look.primary.stable, look.primary.candidate)
    return tuple(
        ArmView(name=name, exposed=exposed, counted=counted, value=value)
        for name, exposed, counted, value in zip(("stable", "candidate"), look.exposed, look.users, values, strict=True)
    )


def _ratio(spec: ExperimentSpec, state: State | None, look: Look | None) -> RatioView | None:
    if state is None or look is None:
        return None
    p, alpha = min(state.ratio_least_p, look.ratio_p), spec.analysis.ratio_alpha
    return RatioView(p=p, alpha=alpha, mismatch=p <= alpha)


def _limits(spec: ExperimentSpec, state: State | None) -> tuple[LimitView, ...]:
    read = {each.name: each for each in state.readings} if state else {}
    found = []
    for rule in spec.guardrails:
        seen: KeptReading | None = read.get(rule.name)
        value = seen.value if seen else None
        limit = seen.limit if seen else rule.limit
        found.append(
            LimitView(
                name=rule.name,
                meaning=f"{_asked(str(rule.kind))}, over {words.time(length(rule.window))}",
                value=value,
                limit=limit,
                value_text=words.reading(rule.kind, value, relative=rule.relative),
                limit_text=words.reading(rule.kind, limit, relative=rule.relative),
                used=value / limit if value is not None and limit > 0 else None,
                breached=bool(seen and seen.breached),
                detail=seen.detail if seen else "not read yet",
                at=seen.at if seen else None,
            )
        )
    return tuple(found)


def _asked(kind: str) -> str:
    return {
        "failures": "rankings that the candidate failed",
        "p99Seconds": "time that 99 of 100 rankings of the candidate stay within",
        "degraded": "rankings of the candidate that were degraded",
    }.get(kind, "a query of the experiment's own")


def _triggered(look: Look | None) -> GroupView | None:
    if look is None or look.triggered is None:
        return None
    return _group("users who were ranked captioned items", None, look.triggered)


def _group(name: str, users: Sequence[int] | None, estimate: Estimate) -> GroupView:
    return GroupView(
        name=name,
        users_stable=users[0] if users else None,
        users_candidate=users[1] if users else None,
        relative=estimate.relative,
        low=estimate.low,
        high=estimate.high,
    )


def _senders(spec: ExperimentSpec, look: Look | None) -> tuple[SenderView, ...]:
    return tuple(
        SenderView(
            name=each.name,
            event=event,
            stable=stable,
            candidate=candidate,
            p=each.p,
            unlike=each.p <= spec.analysis.ratio_alpha,
        )
        for each in (look.senders if look else ())
        for event, (stable, candidate) in each.outcomes.items()
    )


def _quality(look: Look | None) -> tuple[QualityView, ...]:
    """The four counts are always told, also when nothing was set aside."""
    if look is None:
        return ()
    counts = {name: look.quality.get(name, 0) for name in _QUALITY} | look.quality
    return tuple(
        QualityView(name=name, count=count, meaning=_QUALITY.get(name, "users whose number was above the cap"))
        for name, count in counts.items()
    )
