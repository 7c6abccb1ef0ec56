"""What a phase needs to see of the world, and no more.

Guardrails, metrics and stores that do not answer are part of what is seen. A cluster or an assignment that cannot be
read ends the step: nothing could be done about a decision anyway.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime

from models.experiments.assignment import STABLE
from serving.rollout.experiment.analysis import analyse
from serving.rollout.experiment.desired import CANDIDATE
from serving.rollout.experiment.durations import length
from serving.rollout.experiment.evidence import EvidenceError, EvidenceQuery, Reading
from serving.rollout.experiment.looks import look_due
from serving.rollout.experiment.ports import CandidateState, Readiness, RefusedError, RetryError
from serving.rollout.experiment.preparing import caps_wanted
from serving.rollout.experiment.seen import Seen
from serving.rollout.experiment.spec import Column, ExperimentSpec
from serving.rollout.experiment.state import Look, Outcome, Phase, State
from serving.rollout.experiment.world import World


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
    if state.phase is Phase.STOPPING or state.promotion_begun:
        return seen
    readings, blind = _guardrails(name, spec, world, now)
    seen = _stable(replace(seen, readings=readings, blind=blind), world)
    if seen.refusal or state.phase not in (Phase.RUNNING, Phase.WAITING):
        return seen
    look, blinder = _look(name, uid, spec, state, world, now)
    seen = replace(seen, look=look, blind="; ".join(part for part in (blind, blinder) if part))
    won = Outcome.WIN in (state.outcome, Outcome.PENDING if look is None else look.outcome)
    return replace(seen, hint=world.cluster.promotion_hint()) if won else seen


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
    )


def capped_columns(spec: ExperimentSpec) -> dict[Column, float]:
    """The quantile at which each column is capped; of several, the highest."""
    found: dict[Column, float] = {}
    for metric in spec.metrics():
        for column in (metric.numerator, metric.denominator):
            if column is not None and metric.cap_quantile is not None:
                found[column] = max(found.get(column, 0.0), metric.cap_quantile)
    return found


def _candidate(world: World) -> CandidateState:
    try:
        return world.cluster.candidate()
    except RefusedError as error:
        return CandidateState(Readiness.FAILED, message=str(error))


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
        if caps_wanted(spec) and not state.caps:
            seen = replace(seen, caps=_caps(spec, world, now))
        if seen.candidate.readiness is Readiness.READY and not state.warmed:
            world.cluster.warm()
            seen = replace(seen, warmed=True)
    except RefusedError as error:
        return replace(seen, refusal=str(error))
    except (RetryError, EvidenceError) as error:
        return replace(seen, unanswered=str(error))
    return seen


def _caps(spec: ExperimentSpec, world: World, now: datetime) -> Mapping[str, float]:
    return world.metrics.quantiles(capped_columns(spec), (now - length(spec.analysis.before), now))


def _guardrails(name: str, spec: ExperimentSpec, world: World, now: datetime) -> tuple[tuple[Reading, ...], str]:
    try:
        return tuple(world.guardrails.read(spec, name, now)) if spec.guardrails else (), ""
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
