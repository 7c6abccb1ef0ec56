"""What would change the verdict: how far the numbers are from another one, said with numbers."""

from __future__ import annotations

from math import sqrt

from scipy.optimize import brentq

from serving.rollout.experiment.spec import ExperimentSpec, Method
from serving.rollout.experiment.state import Estimate, Look, State
from serving.rollout.report import words
from serving.rollout.report.document import End
from serving.rollout.report.sentence import deciding
from serving.rollout.statistics.sequence import bound, tuning

_MOST = 1e12
"""Users; beyond, an answer helps nobody."""


def would_change(end: End, spec: ExperimentSpec, state: State | None) -> tuple[str, ...]:
    """Sentences, the nearest first."""
    look = deciding(state) if state is not None else None
    match end:
        case End.RATIO:
            return (
                "Only a new experiment with repaired logging: these users cannot be compared, whatever their numbers.",
            )
        case End.GUARDRAIL:
            return ("A candidate that stays within its guardrails, in a new experiment.", *_from_look(spec, look))
        case End.NO_DATA:
            return ("Guardrails that can be read: repair Prometheus or the queries, and start again.",)
        case End.REJECTED:
            return ("A bundle that can be used, in a new experiment.",)
        case End.ABORTED | End.FAILED:
            return ("A new experiment that runs to its end.", *_from_look(spec, look))
        case End.WIN | End.HARM:
            return _of_decided(spec, look)
        case End.INCONCLUSIVE | End.WAITING:
            return _from_look(spec, look) or ("Users: there has been no look yet.",)


def users_needed(spec: ExperimentSpec, look: Look) -> float | None:
    """Users of both arms at which the interval would exclude zero, were the lift and its spread to stay.

    None where there is no lift, no closed interval, or no number of users that anybody has.
    """
    primary = look.primary
    half = _half(primary)
    users = sum(look.users)
    if primary.relative is None or half is None or primary.relative == 0 or users == 0:
        return None
    deviation = half * sqrt(users) / _reach(spec, users)

    def missing(total: float) -> float:
        return deviation * _reach(spec, total) / sqrt(total) - abs(primary.relative or 0.0)

    if missing(_MOST) > 0:
        return None
    return float(brentq(missing, 10.0, _MOST, rtol=1e-4)) if missing(10.0) > 0 else 10.0


def _reach(spec: ExperimentSpec, users: float) -> float:
    """Half an interval's width in standard errors. The planned methods' is that of their last look, one's own."""
    if spec.analysis.method is not Method.ALWAYS_VALID:
        return 1.0
    alpha = spec.analysis.alpha
    return bound(users, alpha=alpha, rho=tuning(spec.analysis.planned_users, alpha))


def _from_look(spec: ExperimentSpec, look: Look | None) -> tuple[str, ...]:
    if look is None or look.primary.relative is None:
        return ()
    primary, found = look.primary, []
    needed, seen = users_needed(spec, look), sum(look.users)
    lift = words.percent(primary.relative)
    if needed is None:
        found.append(f"More users alone hardly would: the lift as seen ({lift}) is too near to zero.")
    elif needed > seen:
        found.append(
            f"About {_round(needed)} users with closed windows, were the lift to stay at {lift}: it had {seen:,}."
        )
    half = _half(primary)
    if half is not None:
        size = words.percent(half, sign=False)
        found.append(f"A lift beyond ±{size} (half of the interval) would have been told from zero by now.")
    return tuple(found)


def _of_decided(spec: ExperimentSpec, look: Look | None) -> tuple[str, ...]:
    if look is None:
        return ()
    primary = look.primary
    near = primary.low if (primary.relative or 0) > 0 else primary.high
    if near is None:
        return ()
    away = words.percent(abs(near), sign=False)
    return (
        f"The interval's nearest end is {away} away from zero: a mistake in the data that moved the lift by more "
        "than that would undo the verdict.",
        "More users cannot be awaited any more: the verdict stands as it was reached, and later numbers do not "
        "belong to it.",
    )


def _half(estimate: Estimate) -> float | None:
    if estimate.low is None or estimate.high is None:
        return None
    return (estimate.high - estimate.low) / 2


def _round(users: float) -> str:
    """Two digits: more would pretend to be exact."""
    return f"{float(f'{users:.2g}'):,.0f}"
