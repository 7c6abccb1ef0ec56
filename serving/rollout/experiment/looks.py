"""When the primary metric may be judged, and by which bound: the spec's method.

Times are watched ones (`State.watched`): a clock that jumps brings no look nearer.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from math import floor

from scipy.special import ndtri

from serving.rollout.experiment.durations import length
from serving.rollout.experiment.spec import ExperimentSpec, Method
from serving.rollout.experiment.state import State
from serving.rollout.statistics.sequence import bound, tuning
from serving.rollout.statistics.spending import Spending, bounds


@dataclass(frozen=True, slots=True)
class Rule:
    """How a moment is judged.

    Attributes:
        bound: half-width of the interval in standard errors; None: no look is due, and `because` says when one is.
        final: nothing comes after: without a crossing the end is inconclusive.
        information: share of the planned users, where the look is a planned one.
    """

    bound: float | None
    final: bool
    information: float | None = None
    because: str = ""


def early(spec: ExperimentSpec, state: State) -> bool:
    """Whether it is too soon for a win."""
    return state.watched < length(spec.analysis.minimum_time).total_seconds()


def overdue(spec: ExperimentSpec, state: State) -> bool:
    """Whether the maximum time is over."""
    return state.watched >= length(spec.analysis.maximum_time).total_seconds()


def look_due(spec: ExperimentSpec, state: State, now: datetime) -> bool:
    """Whether evidence is to be asked for: at every interval, and as long as something waits for it."""
    if state.looked_at is None or now < state.looked_at or overdue(spec, state):
        return True
    if state.looks and min(state.looks[-1].exposed) == 0:
        return True  # as it was no data, it is asked for again at once
    hold = length(spec.schedule.stages[state.stage].hold).total_seconds()
    if not state.stage_looked and state.stage_watched >= hold:
        return True
    return now - state.looked_at >= length(spec.analysis.look_interval)


def rule(spec: ExperimentSpec, state: State, users: int) -> Rule:
    """How a look at so many users, of both arms, is judged."""
    analysis = spec.analysis
    if analysis.method is Method.ALWAYS_VALID:
        rho = tuning(analysis.planned_users, analysis.alpha)
        return Rule(bound(max(users, 1), alpha=analysis.alpha, rho=rho), overdue(spec, state))
    if analysis.method is Method.FIXED:
        return _fixed(spec, state, users)
    return _group_sequential(spec, state, users)


def _fixed(spec: ExperimentSpec, state: State, users: int) -> Rule:
    """One look, at the planned users or when time is over, whichever is first: neither depends on the effect."""
    planned = spec.analysis.planned_users
    last = overdue(spec, state)
    if not last and (users < planned or early(spec, state)):
        return Rule(None, False, because=f"the one look is at {planned:,} users, {_time(spec)} at the earliest")
    return Rule(float(ndtri(1 - spec.analysis.alpha / 2)), True, information=users / planned)


def _group_sequential(spec: ExperimentSpec, state: State, users: int) -> Rule:
    """Looks at equal steps of the planned users, the last one at all of them, or where time is over.

    The last look may be at more users than planned: it spends what is left of alpha at what there is.
    """
    analysis = spec.analysis
    taken = state.spent_shares[-1] if state.spent_shares else 0.0
    reached = users / analysis.planned_users
    step = floor(taken * analysis.looks + 1e-9) + 1
    last = overdue(spec, state)
    complete = reached >= 1.0 and not early(spec, state)
    due = reached * analysis.looks >= min(step, analysis.looks) - 1e-9 and (reached < 1.0 or complete)
    if reached <= taken or taken >= 1.0 or not (due or last):
        if last:
            return Rule(None, True, because="no users came since the look before")
        at = min(step, analysis.looks) / analysis.looks * analysis.planned_users
        return Rule(None, False, because=f"the next planned look is at {at:,.0f} users{_last(spec, step)}")
    spending = Spending(analysis.spending)
    look = bounds([*state.spent_shares, reached], alpha=analysis.alpha, spending=spending)[-1]
    return Rule(look.bound, last or complete, information=reached)


def _last(spec: ExperimentSpec, step: int) -> str:
    return f", {_time(spec)} at the earliest" if step >= spec.analysis.looks else ""


def _time(spec: ExperimentSpec) -> str:
    return f"after minimumTime {spec.analysis.minimum_time}"
