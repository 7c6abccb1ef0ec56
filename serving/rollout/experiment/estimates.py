"""A metric of the spec, computed from sums: relative effect, interval, or why there is none."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import isfinite

from models.experiments.assignment import STABLE
from serving.rollout.experiment.desired import CANDIDATE
from serving.rollout.experiment.spec import EXPOSURE, Metric
from serving.rollout.experiment.state import Estimate
from serving.rollout.statistics.effect import Effect, EffectError, Ratio, effect
from serving.rollout.statistics.effect import Metric as Compared
from serving.rollout.statistics.moments import Moments, MomentsError
from serving.rollout.statistics.sequence import Interval

Bounds = Callable[[Effect], Interval | None]
"""The interval of a relative effect; None where no look is due."""


@dataclass(frozen=True, slots=True)
class Measured:
    """An estimate, and the effect behind it, None where it cannot be computed."""

    estimate: Estimate
    effect: Effect | None


def measure(metric: Metric, moments: Mapping[str, Moments], *, level: float, bounds: Bounds) -> Measured:
    """Compare the arms in a metric. Whatever keeps an interval from being computed is said in `because`."""
    found, because = _effect(metric, moments)
    if found is None:
        return Measured(_estimate(metric, None, None, level, because), None)
    doubt = _doubt(found)
    if doubt:
        return Measured(_estimate(metric, found, None, level, doubt), None)
    ends = bounds(found)
    if ends is not None and not (isfinite(ends.low) and isfinite(ends.high)):
        told = (
            f"stable's value is {found.stable.value:.4g} ± {found.stable.variance**0.5:.2g}: too uncertain to divide by"
        )
        return Measured(_estimate(metric, found, None, level, told), None)
    return Measured(_estimate(metric, found, ends, level, because), found)


def good(metric: Metric) -> float:
    """The sign of a good effect."""
    return 1.0 if metric.direction == "increase" else -1.0


def _effect(metric: Metric, moments: Mapping[str, Moments]) -> tuple[Effect | None, str]:
    bottom = metric.denominator
    value = Ratio(metric.numerator.name, None if bottom is None else bottom.name)
    # Nobody was exposed before the first exposure: of a ratio to rankings only the numerator has a time before.
    past = None if bottom is None or bottom.event == EXPOSURE else bottom.before
    covariate = Ratio(metric.numerator.before, past)
    stable, candidate = moments[STABLE], moments[CANDIDATE]
    note = ""
    if metric.cuped:
        try:
            return effect(Compared(value, covariate), stable, candidate), ""
        except (EffectError, MomentsError) as error:
            note = f"without CUPED: {error}"
    try:
        return effect(Compared(value), stable, candidate), note
    except (EffectError, MomentsError) as error:
        return None, str(error)


def _doubt(found: Effect) -> str:
    """Why a relative effect is not to be believed yet."""
    if found.stable.value == 0:
        return "stable's value is 0; a relative effect needs another one"
    if not (isfinite(found.relative) and isfinite(found.relative_se)):
        return f"the effect is {found.relative} with standard error {found.relative_se}"
    if found.relative_se == 0:
        return "all users have the same number: there is no variance yet"
    return ""


def _estimate(metric: Metric, found: Effect | None, ends: Interval | None, level: float, because: str) -> Estimate:
    return Estimate(
        metric=metric.name,
        stable=None if found is None else _finite(found.stable.value),
        candidate=None if found is None else _finite(found.candidate.value),
        relative=None if found is None else _finite(found.relative),
        low=None if ends is None else _finite(ends.low),
        high=None if ends is None else _finite(ends.high),
        level=level,
        because=because,
    )


def _finite(number: float) -> float | None:
    return number if isfinite(number) else None
