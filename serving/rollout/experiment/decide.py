"""What follows from what was seen. Pure: no clock, no I/O, no randomness."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime

from serving.rollout.experiment import preparing, promoting, running
from serving.rollout.experiment.desired import desired
from serving.rollout.experiment.followed import followed
from serving.rollout.experiment.observed import observed
from serving.rollout.experiment.seen import Seen
from serving.rollout.experiment.spec import ExperimentSpec
from serving.rollout.experiment.state import Entry, Phase, State
from serving.rollout.experiment.stopping import stopping
from serving.rollout.experiment.turn import Turn


@dataclass(frozen=True, slots=True)
class Decision:
    """The state that follows, and what people are told of it."""

    state: State
    events: tuple[Entry, ...]


def begin(name: str, uid: str, now: datetime) -> State:
    """A new experiment's state. The salt follows from the uid: losing this before it is saved loses nothing."""
    return State(since=now, salt=f"{name}/{uid}/users")


def decide(spec: ExperimentSpec, state: State, seen: Seen, now: datetime) -> Decision:
    """One step of an experiment's life. `spec` is the resource's as it is now; at most one phase is passed."""
    if state.phase.ended:
        return Decision(state, ())
    live, refused = followed(spec, state)
    turn = observed(Turn(live, state, seen, now, before=state), refused)
    turn = _PHASES[state.phase](turn)
    return Decision(_numbered(live, state, turn.state), turn.events)


def _numbered(spec: ExperimentSpec, before: State, after: State) -> State:
    """A new revision where users get something else than before; the first thing they get has the one that is there."""
    was, becomes = _users_get(spec, before), _users_get(spec, after)
    if was is None or becomes is None or was == becomes:
        return after
    return after.model_copy(update={"revision": after.revision + 1})


def _users_get(spec: ExperimentSpec, state: State) -> tuple[object, ...] | None:
    want = desired(spec, state)
    return (want.share, want.shadow, want.everyone, state.predictor_host) if want.traffic else None


_PHASES: Mapping[Phase, Callable[[Turn], Turn]] = {
    Phase.PENDING: preparing.pending,
    Phase.PREPARING: preparing.preparing,
    Phase.SHADOW: running.shadow,
    Phase.RUNNING: running.running,
    Phase.WAITING: running.waiting,
    Phase.PROMOTING: promoting.promoting,
    Phase.STOPPING: stopping,
}
