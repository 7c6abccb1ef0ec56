"""What a schedule's guardrails can read at a traffic, before anything starts: over which time, and how soon they act.

A stage whose guardrails are never read is never left: the experiment then ends inconclusive at its first shares.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from math import ceil, floor, inf, isfinite

from serving.rollout.experiment.durations import length
from serving.rollout.experiment.limits import SURELY_SOME, reading_alpha, spans
from serving.rollout.experiment.sentences import share as percent
from serving.rollout.experiment.sentences import span as told
from serving.rollout.experiment.spec import ExperimentSpec, Operational, OperationalKind, Stage
from serving.rollout.statistics.limits import exceedance_chance, rankings_to_find, share_chance

_DAY = timedelta(days=1)
_SLOWER = 0.01
"""A 99th percentile is passed where more than this share of the rankings takes longer."""


@dataclass(frozen=True, slots=True)
class Watched:
    """A guardrail at a stage. Times in seconds; None: never, or not known beforehand.

    Attributes:
        rankings: of the candidate, on average, in the longest time that is looked back on.
        needed: `minimumRequests`.
        read_over: the time over which it is read.
        finds_all, finds_twice: after a breach, the time to find that every ranking fails (or is late), and twice the
            limit.
    """

    guardrail: str
    stage: int
    share: float
    rankings: float
    needed: int
    read_over: float | None
    finds_all: float | None
    finds_twice: float | None


@dataclass(frozen=True, slots=True)
class Traffic:
    """The answer: what is read where, and what is wrong with it, with values that would do."""

    rankings_per_day: float
    watched: tuple[Watched, ...]
    faults: tuple[str, ...]


def needed_per_day(spec: ExperimentSpec) -> tuple[float, ...]:
    """Rankings of all users in a day, by stage, without which some guardrail is never read there."""
    return tuple(
        max((_needed(each, stage) for each in spec.guardrails if _is_counted(each)), default=0.0)
        for stage in spec.schedule.stages
    )


def traffic(spec: ExperimentSpec, rankings_per_day: float, users_per_day: float | None = None) -> Traffic:
    """Plan guardrails and stages. `rankings_per_day` are those of the whole service."""
    alpha, watched, faults = reading_alpha(spec), [], []
    for number, stage in enumerate(spec.schedule.stages, 1):
        own = rankings_per_day * stage.share / 100
        for each in filter(_is_counted, spec.guardrails):
            found = _watched(each, number, stage.share, own, alpha)
            watched.append(found)
            if found.read_over is None:
                faults.append(_never_read(found, each, rankings_per_day))
        if users_per_day is not None and number < len(spec.schedule.stages):
            faults += _too_short(number, stage, users_per_day)
    return Traffic(rankings_per_day, tuple(watched), tuple(faults))


def _needed(each: Operational, stage: Stage) -> float:
    return each.minimum_requests * (_DAY / spans(each)[-1]) / (stage.share / 100)


def _is_counted(each: Operational) -> bool:
    return each.kind is not OperationalKind.QUERY


def _watched(each: Operational, number: int, share: float, own: float, alpha: float) -> Watched:
    looked = spans(each)
    read = next((span for span in looked if own * (span / _DAY) >= each.minimum_requests), None)
    most = own * (looked[-1] / _DAY)

    def after(rankings: float) -> float | None:
        return rankings / own * 86_400 if own and rankings <= most else None

    return Watched(
        each.name,
        number,
        share,
        most,
        each.minimum_requests,
        None if read is None else read.total_seconds(),
        after(_all(each, alpha)),
        after(_twice(each, alpha)),
    )


def _all(each: Operational, alpha: float) -> float:
    """Rankings after which a candidate is found whose every ranking fails, or is slower than the limit."""
    if each.relative and each.kind is not OperationalKind.P99_SECONDS:
        return inf
    limit = _SLOWER if each.kind is OperationalKind.P99_SECONDS else each.limit
    if each.relative:
        return _first(lambda count: exceedance_chance((count, count), (_SLOWER * count, count)), alpha)
    return _first(lambda count: share_chance((count, count), limit), alpha)


def _twice(each: Operational, alpha: float) -> float:
    if each.relative:
        return inf
    limit = _SLOWER if each.kind is OperationalKind.P99_SECONDS else each.limit
    return rankings_to_find(min(2 * limit, 1.0), limit, alpha)


def _first(chance: Callable[[int], float], alpha: float) -> float:
    return next((float(count) for count in range(1, 10_000) if chance(count) <= alpha), inf)


def _never_read(found: Watched, each: Operational, rankings_per_day: float) -> str:
    longest = told(spans(each)[-1].total_seconds())
    share = ceil(found.share * found.needed / found.rankings * 100) / 100 if found.rankings > 0 else inf
    ways = []
    if share <= 50:
        ways.append(f"give the stage at least {percent(share)} of users")
    if found.rankings >= SURELY_SOME:
        ways.append(f"set minimumRequests to at most {floor(found.rankings):,}")
    if spans(each)[-1] < _DAY and found.rankings * (_DAY / spans(each)[-1]) >= found.needed:
        ways.append("set window to 24h")
    advice = "; or ".join(ways) or "there is too little traffic for an experiment of this schedule"
    return (
        f"stage {found.stage} ({percent(found.share)} of users): guardrail {found.guardrail} would never be read at "
        f"{rankings_per_day:,.0f} rankings a day, and the stage never be left: the candidate has {found.rankings:,.0f} "
        f"in {longest}, and {found.needed:,} are needed. To change that: {advice}"
    )


def _too_short(number: int, stage: Stage, users_per_day: float) -> list[str]:
    """A stage is left when both arms got users in it; with very few the hold says little."""
    users = users_per_day * stage.share / 100 * (length(stage.hold) / _DAY)
    if users >= SURELY_SOME or not isfinite(users):
        return []
    hold = told(SURELY_SOME / users * length(stage.hold).total_seconds()) if users else "longer"
    return [
        f"stage {number} ({percent(stage.share)} of users) meets about {users:,.1f} users in its {stage.hold}: hold it "
        f"for {hold}, or give it more users"
    ]
