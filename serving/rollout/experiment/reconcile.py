"""One step of an experiment's controller: observe, decide, save, act.

Level-based: the step goes by what is, not by what happened. It may be killed anywhere and is simply done again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

from serving.rollout.experiment.decide import begin, decide
from serving.rollout.experiment.desired import assignment, desired
from serving.rollout.experiment.followed import followed
from serving.rollout.experiment.lapses import pace
from serving.rollout.experiment.observe import observe
from serving.rollout.experiment.ports import Readiness, RefusedError, RetryError, VerifiedBundle
from serving.rollout.experiment.seen import Seen
from serving.rollout.experiment.spec import ExperimentSpec
from serving.rollout.experiment.state import Phase, State
from serving.rollout.experiment.world import World

Save = Callable[[State], None]
"""Keeps the state if the one kept is still the one that the step began with, or that this step saved before; raises
RetryError where it is not, or on no answer. A step calls it once, and again when the cluster refuses for good."""

_RETRY = timedelta(seconds=10)


@dataclass(frozen=True, slots=True)
class Step:
    """What a step led to."""

    state: State
    wait: timedelta | None
    """Until the next step; None: the experiment has ended."""
    failure: str = ""
    """What did not answer, so that the step is to be done again; empty when all went well."""


def reconcile(name: str, uid: str, spec: ExperimentSpec, state: State | None, world: World, save: Save) -> Step:
    """Do a step. `state` is the one kept, None for a new experiment. Faults of the world end up in `Step.failure`.

    The state is saved in every step before anything is done, and nothing is done unless that worked: so a controller
    that goes by an old copy, or is no longer the leader, changes nothing.
    """
    now = world.clock.now()
    before = begin(name, uid, now) if state is None else state
    if before.phase.ended:
        return Step(before, None)
    live, _ = followed(spec, before)
    try:
        seen = observe(name, uid, live, before, world, now)
        decision = decide(spec, before, seen, now)
        save(decision.state)
    except (RetryError, RefusedError) as error:
        return Step(before, _RETRY, str(error))
    for event in decision.events:
        world.notices.tell(name, event.reason, event.message, warning=event.warning)
    return _act(name, uid, spec, decision.state, seen, world, save)


def finish(name: str, uid: str, spec: ExperimentSpec, state: State | None, world: World) -> bool:
    """Clean up behind a resource that is being deleted; True when nothing is left and it may go.

    The assignment goes first, the candidate's objects in a later call, once transformers had time to notice: wait a
    few seconds between calls. A promotion that has begun is done to its end, unless it is refused, or somebody has put
    stable back.

    Raises:
        RetryError, RefusedError: the world did not do it; call again.
    """
    if state is not None and state.promotion_begun and not state.phase.ended and not state.reverts:
        try:
            if world.cluster.replaced() >= state.replaced and not world.cluster.promote():
                return False
        except RefusedError as error:
            world.notices.tell(name, "PromotionRefused", f"Deleted in the middle of a promotion: {error}", warning=True)
    if world.assignments.published(uid) is not None:
        world.assignments.withdraw(uid)
        return False
    world.cluster.remove()
    return world.cluster.candidate().readiness is Readiness.ABSENT


def _act(name: str, uid: str, spec: ExperimentSpec, state: State, seen: Seen, world: World, save: Save) -> Step:
    live, _ = followed(spec, state)
    wait = None if state.phase.ended else pace(live, state.phase)
    try:
        _shrink(uid, live, state, seen, world)
        learnt = _grow(name, uid, live, state, seen, world)
        if learnt != state:
            save(learnt)
    except (RetryError, RefusedError) as error:
        return Step(state, _RETRY, str(error))
    return Step(learnt, wait, learnt.refusal)


def _shrink(uid: str, spec: ExperimentSpec, state: State, seen: Seen, world: World) -> None:
    """Take away what should not be: users first, objects once no transformer sends any."""
    want = desired(spec, state)
    if not want.traffic and seen.published is not None:
        world.assignments.withdraw(uid)
    if state.phase is Phase.STOPPING and not want.candidate:
        world.cluster.remove()


def _grow(name: str, uid: str, spec: ExperimentSpec, state: State, seen: Seen, world: World) -> State:
    """Make what should be; the state with what was learnt by that, which the next step decides by."""
    if state.phase is Phase.STOPPING:
        return state
    try:
        done = _made(name, uid, spec, state, seen, world)
        replaced = world.cluster.replaced() if desired(spec, state).promote else state.replaced
    except RefusedError as error:
        return state.model_copy(update={"refusal": str(error)})
    return state.model_copy(update={"promoted": done, "replaced": replaced, "refusal": ""})


def _made(name: str, uid: str, spec: ExperimentSpec, state: State, seen: Seen, world: World) -> bool:
    """Objects first; users only to a candidate that was seen ready in this very step. True when all is promoted."""
    want = desired(spec, state)
    ready = seen.candidate.readiness is Readiness.READY
    if want.candidate and not want.promote:  # also while it is ready: somebody may have changed what it needs
        world.cluster.deploy(VerifiedBundle(state.bundle_id or "", state.contract_digest or ""))
    document = assignment(name, uid, spec, state)
    if ready and document is not None and document != seen.published:
        world.assignments.publish(document)
    return want.promote and world.cluster.promote()
