"""How far an experiment is on the way to its plan, and when it is expected to end."""

from __future__ import annotations

from datetime import datetime, timedelta

from serving.rollout.experiment.durations import length
from serving.rollout.experiment.spec import ExperimentSpec
from serving.rollout.experiment.state import Look, Phase, State
from serving.rollout.report import words
from serving.rollout.report.document import ProgressView

_BACK = timedelta(days=7)
"""The pace is that of so much time at the newest share."""
_LEAST_BACK = timedelta(hours=6)
_DAY = timedelta(days=1)


def progress(spec: ExperimentSpec, state: State | None, now: datetime) -> ProgressView | None:
    """None before users met the candidate. Nothing is projected for what has ended, is paused or has won."""
    if state is None or state.exposed_since is None:
        return None
    analysis, users = spec.analysis, sum(state.looks[-1].users) if state.looks else 0
    watched = timedelta(seconds=state.watched)
    least, most = length(analysis.minimum_time), length(analysis.maximum_time)
    found = ProgressView(
        users=users,
        planned_users=analysis.planned_users,
        users_part=users / analysis.planned_users,
        watched_days=watched / _DAY,
        minimum_days=least / _DAY,
        maximum_days=most / _DAY,
        time_part=min(watched / most, 1.0),
    )
    if state.phase is not Phase.RUNNING or spec.paused:
        return found.model_copy(update={"said": (_users(found),)})
    per_day = _pace(state.looks)
    left = analysis.planned_users - users
    planned = now if left <= 0 else None
    if planned is None and per_day is not None and left / per_day < 3650:
        planned = now + left / per_day * _DAY
    win_from, ends_by = now + max(least - watched, timedelta(0)), now + max(most - watched, timedelta(0))
    end = ends_by if planned is None else min(max(planned, win_from), ends_by)
    dated = {"per_day": per_day, "planned_at": planned, "win_from": win_from, "ends_by": ends_by, "projected_end": end}
    found = found.model_copy(update=dated)
    return found.model_copy(update={"said": (_users(found), *_projected(found, now))})


def _pace(looks: tuple[Look, ...]) -> float | None:
    """Users a day whose window closes, at the newest share; None where looks are too near one another to tell."""
    if not looks:
        return None
    last = looks[-1]
    same = [each for each in looks if each.share == last.share and last.at - each.at <= _BACK]
    span = last.at - same[0].at
    more = sum(last.users) - sum(same[0].users)
    return more / (span / _DAY) if span >= _LEAST_BACK and more > 0 else None


def _users(found: ProgressView) -> str:
    part = words.percent(found.users_part, sign=False)
    pace = f", and {found.per_day:,.0f} more a day do" if found.per_day is not None else ""
    return (
        f"{found.users:,} of {found.planned_users:,} planned users ({part}) have a closed window{pace}; "
        f"{words.number(round(found.watched_days, 1))} of at most {words.number(found.maximum_days)} days were watched."
    )


def _projected(found: ProgressView, now: datetime) -> tuple[str, ...]:
    if found.win_from is None or found.ends_by is None or found.projected_end is None:
        return ()
    last = f"{found.ends_by:%Y-%m-%d}"
    if found.planned_at is None:
        why = f"latest end; when the planned users are reached cannot be told yet, {last} is maximumTime"
    elif found.planned_at > found.ends_by:
        why = "end of maximumTime: at this pace the planned users are not reached by then"
    else:
        why = f"planned users and minimumTime are reached; {last} at the latest"
    said = f"Projected end: {found.projected_end:%Y-%m-%d} ({why}). Harm and guardrails may end it at once."
    early = (f"No win before {found.win_from:%Y-%m-%d} (minimumTime).",) if found.win_from > now else ()
    return (said, *early)
