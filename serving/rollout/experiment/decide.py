"""What follows from what was seen. Pure: no clock, no I/O, no randomness."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from serving.rollout.experiment.seen import Seen
from serving.rollout.experiment.spec import ExperimentSpec
from serving.rollout.experiment.state import Entry, State


@dataclass(frozen=True, slots=True)
class Decision:
    """The state that follows, and what people are told of it."""

    state: State
    events: tuple[Entry, ...]


def begin(name: str, uid: str, now: datetime) -> State:
    """A new experiment's state. The salt follows from the uid: losing this before it is saved loses nothing."""
    return State(since=now, salt=f"{name}/{uid}/users")


def decide(spec: ExperimentSpec, state: State, seen: Seen, now: datetime) -> Decision:
    """One step of an experiment's life. `spec` is the resource's as it is now."""
    raise NotImplementedError
