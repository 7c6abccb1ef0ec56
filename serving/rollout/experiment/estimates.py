"""A metric of the spec, computed from sums: the difference, absolute and relative, with intervals, or why not."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import isfinite

from models.experiments.assignment import STABLE
from serving.rollout.experiment.desired import CANDIDATE
from serving.rollout.experiment.spec import EXPOSURE, Metric
from serving.rollout.experiment.state import Basis, Estimate
from serving.rollout.statistics.effect import ArmValue, Effect, EffectError, Ratio, effect
from serving.rollout.statistics.effect import Metric as Compared
from serving.rollout.statistics.moments import Moments, MomentsError

Half = Callable[[Effect], float | None]
"""How many standard errors an interval reaches to each side; None where no look is due."""

_LOST = -0.5
"""A candidate that has shown to lose more than this part of a ratio's denominator has failed, whatever the ratio."""


@dataclass(frozen=True, slots=True)
class Measured:
    """An estimate, and the effect behind it, None where nothing can be judged.

    `lost` says what the candidate has lost of the denominator of a ratio, where it has shown to.
    """

    estimate: Estimate
    effect: Effect | None
    lost: str = ""


def measure(metric: Metric, moments: Mapping[str, Moments], *, level: float, half: Half) -> Measured:
    """Compare the arms in a metric. Whatever keeps an interval from being computed is said in `because`."""
    lost, doubt = _denominators(metric, moments, half)
    found, because = _effect(metric, moments)
    if lost:
        return Measured(_estimate(metric, found, None, level, lost).model_copy(update=_BY_DENOMINATOR), found, lost)
    if found is None:
        return Measured(_estimate(metric, None, None, level, because), None)
    doubt = doubt or _doubt(found)
    if doubt:
        return Measured(_estimate(metric, found, None, level, doubt), None)
    return Measured(_estimate(metric, found, half(found), level, because), found)


def good(metric: Metric) -> float:
    """The sign of a good effect."""
    return 1.0 if metric.direction == "increase" else -1.0


def covariate(metric: Metric) -> Ratio:
    """The same metric from before the first exposure.

    Nobody was exposed before that: of a ratio to rankings only the numerator has a time before.
    """
    bottom = metric.denominator
    return Ratio(metric.numerator.before, None if bottom is None or bottom.event == EXPOSURE else bottom.before)


def _effect(metric: Metric, moments: Mapping[str, Moments]) -> tuple[Effect | None, str]:
    bottom = metric.denominator
    value = Ratio(metric.numerator.name, None if bottom is None else bottom.name)
    stable, candidate = moments[STABLE], moments[CANDIDATE]
    note = ""
    if metric.cuped:
        try:
            return effect(Compared(value, covariate(metric)), stable, candidate), ""
        except (EffectError, MomentsError) as error:
            note = f"without CUPED: {error}"
    try:
        return effect(Compared(value), stable, candidate), note
    except (EffectError, MomentsError) as error:
        return None, str(error)


def _doubt(found: Effect) -> str:
    """Why an effect is not to be believed yet."""
    if not (isfinite(found.absolute) and isfinite(found.absolute_se)):
        return f"the difference is {found.absolute} with standard error {found.absolute_se}"
    if found.absolute_se == 0:
        return (
            f"all users of both arms have the same number, {found.stable.value:.4g}: there is no difference, and no "
            "variance yet that would say how sure that is"
        )
    return ""


def _denominators(metric: Metric, moments: Mapping[str, Moments], half: Half) -> tuple[str, str]:
    """What the candidate has lost of a ratio's denominator; and why the ratio cannot be judged for the lack of it.

    A ratio whose denominator is not told from 0 has no variance to believe (the delta method divides by it).
    """
    if metric.denominator is None:
        return "", ""
    column = metric.denominator.name
    try:
        found = effect(Compared(Ratio(column)), moments[STABLE], moments[CANDIDATE])
    except (EffectError, MomentsError):
        return "", ""
    reach = half(found)
    if reach is None:
        return "", ""
    few = [
        f"the mean of {column!r} in arm {arm} is {_unsure(each)}"
        for arm, each in ((STABLE, found.stable), (CANDIDATE, found.candidate))
        if each.value**2 <= reach**2 * each.variance
    ]
    fallen = found.absolute_interval(reach).high < 0
    candidate_few = found.candidate.value**2 <= reach**2 * found.candidate.variance
    if fallen and (candidate_few or found.interval(reach).high < _LOST):
        told = (
            f"the candidate has {found.candidate.value:.4g} of {column!r} per user where stable has "
            f"{found.stable.value:.4g}: more than half of what {metric.name} is divided by is lost, so the ratio says "
            "nothing"
        )
        return told, ""
    return "", "; ".join(few)


_BY_DENOMINATOR = {"judged_by": Basis.DENOMINATOR}


def _estimate(metric: Metric, found: Effect | None, half: float | None, level: float, because: str) -> Estimate:
    if found is None:
        return Estimate(
            metric=metric.name, stable=None, candidate=None, relative=None, low=None, high=None, level=level,
            because=because,
        )  # fmt: skip
    ends = None if half is None else found.interval(half)
    wide = None if half is None else found.absolute_interval(half)
    no_ratio = ends is not None and not (isfinite(ends.low) and isfinite(ends.high))
    return Estimate(
        metric=metric.name,
        stable=_finite(found.stable.value),
        candidate=_finite(found.candidate.value),
        relative=_finite(found.relative),
        low=None if ends is None else _finite(ends.low),
        high=None if ends is None else _finite(ends.high),
        level=level,
        because=because,
        absolute=_finite(found.absolute),
        absolute_low=None if wide is None else wide.low,
        absolute_high=None if wide is None else wide.high,
        judged_by=None if wide is None else Basis.ABSOLUTE if no_ratio else Basis.RELATIVE,
        not_relative=_uncertain(found) if no_ratio else "",
        stable_deviation=(found.stable.variance * found.stable.users) ** 0.5,
        candidate_deviation=(found.candidate.variance * found.candidate.users) ** 0.5,
    )


def _uncertain(found: Effect) -> str:
    if found.stable.value == 0:
        return "stable's value is 0: there is no relative effect"
    return f"stable's value is {_unsure(found.stable)}"


def _unsure(value: ArmValue) -> str:
    return f"{value.value:.4g} ± {value.variance**0.5:.2g}: too uncertain to divide by"


def _finite(number: float) -> float | None:
    return number if isfinite(number) else None
