"""Time as it was watched, not as a clock tells it.

A step adds the time since the step before, but at most a few times the wait that the controller had asked for, and
nothing where the clock went back. So a clock that jumps, or a controller that was away, brings no stage, verdict or
limit nearer than that; and as limits are looked at ten times before they are over, one wrong step never ends anything.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from serving.rollout.experiment.durations import length
from serving.rollout.experiment.spec import ExperimentSpec
from serving.rollout.experiment.state import Lapse, Phase, State

_WAITS = {
    Phase.PENDING: timedelta(seconds=1),
    Phase.PREPARING: timedelta(seconds=10),
    Phase.PROMOTING: timedelta(seconds=5),
    Phase.STOPPING: timedelta(seconds=5),
}
_SHORTEST = timedelta(seconds=5)
_PARTS = 10
"""So often is a guardrail read within its window, and a limit looked at before it is over."""
_SLACK = 4.0
"""A step that takes so many times its wait still counts in full."""


def pace(spec: ExperimentSpec, phase: Phase) -> timedelta:
    """Time between two steps. While users are on the candidate 30 s, for a guardrail over the last 5 minutes."""
    if phase in _WAITS:
        return _WAITS[phase]
    lengths = [length(each.window) for each in spec.guardrails] + [length(spec.analysis.no_data_limit)]
    return max(min(min(lengths) / _PARTS, length(spec.analysis.look_interval)), _SHORTEST)


def credit(spec: ExperimentSpec, state: State, now: datetime) -> float:
    """Seconds that this step has watched."""
    if state.stepped_at is None:
        return 0.0
    passed = (now - state.stepped_at).total_seconds()
    return min(max(passed, 0.0), _SLACK * pace(spec, state.phase).total_seconds())


def lasting(lapse: Lapse | None, now: datetime, seconds: float) -> Lapse:
    """The condition was seen again, or for the first time."""
    if lapse is None:
        return Lapse(since=now)
    return Lapse(since=lapse.since, seconds=lapse.seconds + seconds)


def over(lapse: Lapse | None, limit: timedelta) -> bool:
    """Whether it has lasted longer than the limit."""
    return lapse is not None and lapse.seconds >= limit.total_seconds()
