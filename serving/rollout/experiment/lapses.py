"""Time as it was watched, not as a clock tells it.

A step adds the time since the step before, at most one look interval of it, and nothing where the clock went back. So a
clock that jumps, or a controller that was away, brings no stage, verdict or limit nearer than one interval. A limit
also wants its condition to be seen in several steps.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from serving.rollout.experiment.durations import length
from serving.rollout.experiment.spec import ExperimentSpec
from serving.rollout.experiment.state import Lapse, State

LEAST_STEPS = 3
"""A condition has lasted only if it was seen so often in a row."""


def credit(spec: ExperimentSpec, state: State, now: datetime) -> float:
    """Seconds that this step has watched."""
    if state.stepped_at is None:
        return 0.0
    passed = (now - state.stepped_at).total_seconds()
    return min(max(passed, 0.0), length(spec.analysis.look_interval).total_seconds())


def lasting(lapse: Lapse | None, now: datetime, seconds: float) -> Lapse:
    """The condition was seen again, or for the first time."""
    if lapse is None:
        return Lapse(since=now)
    return Lapse(since=lapse.since, seconds=lapse.seconds + seconds, steps=lapse.steps + 1)


def over(lapse: Lapse | None, limit: timedelta) -> bool:
    """Whether it has lasted longer than the limit."""
    return lapse is not None and lapse.steps >= LEAST_STEPS and lapse.seconds >= limit.total_seconds()
