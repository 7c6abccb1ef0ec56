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
    """An estimate with its interval: `clicks: +0.8 % [-0.2 %, +1.9 %] (95 %)`, or why there is none."""
    if estimate.relative is None:
        return f"{estimate.metric}: no estimate yet ({estimate.because})"
    if estimate.low is None and estimate.high is None:
        return f"{estimate.metric}: {percent(estimate.relative)} (no interval: {estimate.because})"
    low = "" if estimate.low is None else percent(estimate.low)
    high = "" if estimate.high is None else percent(estimate.high)
    level = f"{100 * estimate.level:.4g} %"
    return f"{estimate.metric}: {percent(estimate.relative)} [{low or '-∞'}, {high or '+∞'}] ({level})"


def excluded(estimate: Estimate) -> str:
    """Which effects the interval rules out."""
    parts = [
        f"{word} {percent(bound)}"
        for word, bound in (("above", estimate.high), ("below", estimate.low))
        if bound is not None and abs(bound) < inf
    ]
    if not parts:
        return "No effect can be excluded: there is no interval."
    return f"Effects {' and '.join(parts)} are excluded ({100 * estimate.level:.4g} %)."


def span(seconds: float) -> str:
    """A length of time: 45 s, 12 min, 3.5 h, 6.2 days."""
    for unit, name in ((86_400.0, "days"), (3_600.0, "h"), (60.0, "min")):
        if seconds >= unit * (2 if name == "days" else 1):
            return f"{seconds / unit:.3g} {name}"
    return f"{seconds:.0f} s"
