"""What a phase needs to see of the world, and no more.

Guardrails, metrics and stores that do not answer are part of what is seen. A cluster or an assignment that cannot be
read ends the step: nothing could be done about a decision anyway.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime, timedelta

from models.experiments.assignment import STABLE
from serving.rollout.experiment.analysis import analyse
from serving.rollout.experiment.desired import CANDIDATE
from serving.rollout.experiment.durations import length
from serving.rollout.experiment.evidence import EvidenceError, EvidenceQuery, Reading
from serving.rollout.experiment.looks import look_due
from serving.rollout.experiment.ports import CandidateState, Readiness, RefusedError, RetryError
from serving.rollout.experiment.preparing import caps_missing
from serving.rollout.experiment.seen import Seen
from serving.rollout.experiment.spec import EXPOSURE, Aggregate, Column, ExperimentSpec, Metric
from serving.rollout.experiment.state import Look, Outcome, Phase, State
from serving.rollout.experiment.world import World
from serving.rollout.statistics.winsor import CapRule, Caps

_LEAST_HISTORY = timedelta(days=7)
"""Caps see every day of the week, however short the time is that CUPED looks at."""


def observe(name: str, uid: str, spec: ExperimentSpec, state: State, world: World, now: datetime) -> Seen:
    """Look at the world, for the spec as it is followed.

    Raises:
        RetryError, RefusedError: the cluster or the assignment cannot be read.
    """
    published = world.assignments.published(uid)
    if state.phase is Phase.PENDING:
        return Seen(published=published, rival=world.cluster.rival())
    seen = Seen(published=published, candidate=_candidate(world))
    if state.phase is Phase.PREPARING:
        return _prepare(seen, spec, state, world, now)
    if state.phase is Phase.STOPPING:
        return seen
    if state.promotion_begun:
        return replace(seen, replaced=_replaced(world), hint=_hint(world))
    readings, blind = _guardrails(name, spec, state, world, now)
    seen = _stable(replace(seen, readings=readings, blind=blind), world)
    if seen.refusal or state.phase not in (Phase.RUNNING, Phase.WAITING):
        return seen
    look, blinder = _look(name, uid, spec, state, world, now)
    seen = replace(seen, look=look, blind="; ".join(part for part in (blind, blinder) if part))
    won = Outcome.WIN in (state.outcome, Outcome.PENDING if look is None else look.outcome)
    return replace(seen, hint=_hint(world)) if won else seen


def evidence_query(name: str, uid: str, spec: ExperimentSpec, state: State, now: datetime) -> EvidenceQuery:
    """What is asked of the source of metrics."""
    wanted = [metric for metric in spec.metrics() if metric.cuped]
    parts = [part for metric in wanted for part in (metric.numerator, metric.denominator) if part is not None]
    return EvidenceQuery(
        experiment=name,
        uid=uid,
        arms=(STABLE, CANDIDATE),
        columns=spec.columns(),
        before=tuple(dict.fromkeys(parts)),
        window=spec.window,
        before_span=length(spec.analysis.before),
        as_of=now,
        caps=dict(state.caps),
        floors=dict(state.floors),
    )


def cap_rules(metrics: Iterable[Metric]) -> dict[Column, CapRule]:
    """How each column is capped; of several rules the mildest. 0 or 1 for a user needs no cap."""
    found: dict[Column, CapRule] = {}
    for metric in metrics:
        for column in (metric.numerator, metric.denominator):
            if column is None or not metric.capped or column.aggregate is Aggregate.ANY:
                continue
            rule = CapRule(metric.cap_quantile, metric.cap_lower_quantile, metric.cap_nonzero)
            found[column] = _milder(found[column], rule) if column in found else rule
    return found


def _milder(one: CapRule, other: CapRule) -> CapRule:
    upper = [each.upper for each in (one, other) if each.upper is not None]
    lower = [each.lower for each in (one, other) if each.lower is not None]
    return CapRule(max(upper, default=None), min(lower, default=None), one.nonzero or other.nonzero)


def _candidate(world: World) -> CandidateState:
    try:
        return world.cluster.candidate()
    except RefusedError as error:
        return CandidateState(Readiness.FAILED, message=str(error))


def _replaced(world: World) -> int | None:
    try:
        return world.cluster.replaced()
    except RefusedError:
        return None  # the promotion meets it too, and it is told there


def _hint(world: World) -> str:
    try:
        return world.cluster.promotion_hint()
    except RefusedError:
        return ""  # what it is about is not there any more, which is told where it matters


def _stable(seen: Seen, world: World) -> Seen:
    try:
        return replace(seen, stable=world.cluster.stable())
    except RefusedError as error:
        return replace(seen, refusal=str(error))


def _prepare(seen: Seen, spec: ExperimentSpec, state: State, world: World, now: datetime) -> Seen:
    seen = _stable(seen, world)
    if seen.refusal or spec.aborted:
        return seen
    try:
        if state.bundle_id is None:
            return replace(seen, bundle=world.bundles.verify(spec.candidate.bundle))
        if caps_missing(spec, state):
            seen = replace(seen, caps=_caps(spec, world, now))
        if seen.candidate.readiness is Readiness.READY and not state.warmed:
            world.cluster.warm()
            seen = replace(seen, warmed=True)
    except RefusedError as error:
        return replace(seen, refusal=str(error))
    except (RetryError, EvidenceError) as error:
        return replace(seen, unanswered=str(error))
    return seen


def _caps(spec: ExperimentSpec, world: World, now: datetime) -> Caps:
    """Numbers are capped by windows as long as the experiment's, the covariate by times as long as its own."""
    before = length(spec.analysis.before)
    rules = cap_rules(spec.metrics())
    past = {
        column: rule
        for column, rule in cap_rules(metric for metric in spec.metrics() if metric.cuped).items()
        if column.event != EXPOSURE  # nobody was exposed before the first exposure
    }
    history = max(before, _LEAST_HISTORY)
    caps = world.metrics.quantiles(rules, (now - history - spec.window, now), spec.window) if rules else Caps({})
    if not past or not before:
        return caps
    earlier = world.metrics.quantiles(past, (now - before, now))
    return caps.with_others(earlier.renamed({column.name: column.before for column in past}))


def _guardrails(
    name: str, spec: ExperimentSpec, state: State, world: World, now: datetime
) -> tuple[tuple[Reading, ...], str]:
    if not spec.guardrails:
        return (), ""
    try:
        return tuple(world.guardrails.read(spec, name, now, state.exposed_since)), ""
    except (RetryError, RefusedError) as error:
        return (), f"guardrails: {error}"


def _look(
    name: str, uid: str, spec: ExperimentSpec, state: State, world: World, now: datetime
) -> tuple[Look | None, str]:
    if not look_due(spec, state, now):
        return None, ""
    try:
        evidence = world.metrics.evidence(evidence_query(name, uid, spec, state, now))
    except (EvidenceError, RetryError) as error:
        return None, f"metrics: {error}"
    return analyse(spec, evidence, state, now), ""
