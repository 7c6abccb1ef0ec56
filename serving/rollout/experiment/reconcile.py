"""One step of an experiment's controller: observe, decide, save, act.

Level-based: the step goes by what is, not by what happened. It may be killed anywhere and is simply done again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

from serving.rollout.experiment.spec import ExperimentSpec
from serving.rollout.experiment.state import State
from serving.rollout.experiment.world import World

Save = Callable[[State], None]
"""Keeps the state, if it is still the one that the step began with; raises RetryError where it is not, or on no answer.
"""


@dataclass(frozen=True, slots=True)
class Step:
    """What a step led to."""

    state: State
    wait: timedelta | None
    """Until the next step; None: the experiment has ended."""
    failure: str = ""
    """What did not answer, so that the step is to be done again; empty when all went well."""


def reconcile(name: str, uid: str, spec: ExperimentSpec, state: State | None, world: World, save: Save) -> Step:
    """Do a step. `state` is the one kept, None for a new experiment. Faults of the world end up in `Step.failure`."""
    raise NotImplementedError


def finish(name: str, uid: str, spec: ExperimentSpec, state: State | None, world: World) -> bool:
    """Clean up behind a resource that is being deleted; True when nothing is left and it may go.

    Raises:
        RetryError: the world did not answer; call again.
    """
    raise NotImplementedError
