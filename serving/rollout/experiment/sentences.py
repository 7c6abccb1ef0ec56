"""Numbers and lengths of time as people read them in events, status and reports."""

from __future__ import annotations

from math import inf

from serving.rollout.experiment.state import Estimate


def percent(part: float) -> str:
    """A relative effect with its sign: +0.8 %, -12 %, +0.021 %."""
    return f"{100 * part:+.3g} %"


def share(percents: float) -> str:
    """A share of users, given in percent: 5 %, 0.25 %."""
    return f"{percents:g} %"


def interval(estimate: Estimate) -> str:
    """An estimate with its interval: `clicks: +0.8 % [-0.2 %, +1.9 %] (95 %)`, or why there is none.

    Where there is no relative interval it is the difference's: `clicks: +0.1 [+0.087, +0.11] (95 %, absolute: ...)`.
    """
    level = f"{100 * estimate.level:.4g} %"
    if estimate.relative is not None and not (estimate.low is None and estimate.high is None):
        low = "" if estimate.low is None else percent(estimate.low)
        high = "" if estimate.high is None else percent(estimate.high)
        return f"{estimate.metric}: {percent(estimate.relative)} [{low or '-∞'}, {high or '+∞'}] ({level})"
    if estimate.absolute is not None and estimate.absolute_low is not None and estimate.absolute_high is not None:
        ends = f"[{estimate.absolute_low:+.3g}, {estimate.absolute_high:+.3g}]"
        return f"{estimate.metric}: {estimate.absolute:+.3g} {ends} ({level}, absolute: {estimate.not_relative})"
    if estimate.relative is None:
        return f"{estimate.metric}: no estimate yet ({estimate.because})"
    return f"{estimate.metric}: {percent(estimate.relative)} (no interval: {estimate.because})"


def excluded(estimate: Estimate) -> str:
    """Which effects the interval rules out."""
    level = f"{100 * estimate.level:.4g} %"
    ends = (("above", estimate.high), ("below", estimate.low))
    parts = [f"{word} {percent(bound)}" for word, bound in ends if bound is not None and abs(bound) < inf]
    if not parts and estimate.absolute_low is not None and estimate.absolute_high is not None:
        parts = [f"above {estimate.absolute_high:+.3g}", f"below {estimate.absolute_low:+.3g} (absolute)"]
    if not parts:
        return "No effect can be excluded: there is no interval."
    return f"Effects {' and '.join(parts)} are excluded ({level})."


def span(seconds: float) -> str:
    """A length of time: 45 s, 12 min, 3.5 h, 6.2 days."""
    for unit, name in ((86_400.0, "days"), (3_600.0, "h"), (60.0, "min")):
        if seconds >= unit * (2 if name == "days" else 1):
            return f"{seconds / unit:.3g} {name}"
    return f"{seconds:.0f} s"
