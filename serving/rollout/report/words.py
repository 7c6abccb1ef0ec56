"""Numbers and settings as people read them. The same everywhere: page, plots, command line."""

from __future__ import annotations

from datetime import timedelta
from math import isfinite

from serving.rollout.experiment.spec import Aggregate, Column, Metric, OperationalKind
from serving.rollout.experiment.state import Estimate

NOTHING = "–"
MINUS = "−"


def percent(value: float | None, *, sign: bool = True) -> str:
    """A fraction as percent, three digits: +1.83 %, −0.02 %, 12.5 %."""
    if value is None or not isfinite(value):
        return NOTHING
    size = 100 * value
    text = f"{size:,.0f}" if abs(size) >= 1000 else f"{size:.3g}"
    return f"{'+' if sign and size > 0 else ''}{_minus(text)} %"


def interval(low: float | None, high: float | None) -> str:
    """From one end to the other: [+0.91 %, +2.75 %]; an end that is open says so."""
    return f"[{percent(low) if low is not None else 'open'}, {percent(high) if high is not None else 'open'}]"


def ends(estimate: Estimate) -> str:
    """An estimate's interval: of the relative effect, or of the difference where that is all there is."""
    if estimate.low is None and estimate.high is None and estimate.absolute_low is not None:
        return f"[{signed(estimate.absolute_low)}, {signed(estimate.absolute_high)}] absolute"
    return interval(estimate.low, estimate.high)


def lift(estimate: Estimate) -> str:
    """The relative effect, or the difference where there is no interval of a relative one."""
    if estimate.low is None and estimate.high is None and estimate.absolute_low is not None:
        return signed(estimate.absolute)
    return percent(estimate.relative)


def difference(absolute: float | None, low: float | None, high: float | None) -> str:
    """A difference with its interval: +0.12 [+0.03, +0.21]."""
    return signed(absolute) + (f" [{signed(low)}, {signed(high)}]" if low is not None else "")


def signed(value: float | None) -> str:
    """A difference in the metric's own unit: +0.099, −3."""
    return f"{'+' if value is not None and value > 0 else ''}{number(value)}"


def number(value: float | None) -> str:
    """A number with thousands separated, four significant digits below a thousand."""
    if value is None or not isfinite(value):
        return NOTHING
    if float(value).is_integer() or abs(value) >= 1000:
        return _minus(f"{value:,.0f}")
    return _minus(f"{value:,.4g}")


def chance(value: float | None) -> str:
    """A p-value."""
    if value is None:
        return NOTHING
    return "below 0.0001" if value < 0.0001 else f"{value:.4f}" if value < 0.1 else f"{value:.2f}"


def time(span: timedelta) -> str:
    """A length of time: 45 minutes, 6 hours, 3.5 days."""
    for name, size in (("days", timedelta(days=1)), ("hours", timedelta(hours=1)), ("minutes", timedelta(minutes=1))):
        if span >= size:
            return f"{_short(span / size)} {name if _short(span / size) != '1' else name[:-1]}"
    return f"{span.total_seconds():.0f} seconds"


def column(of: Column) -> str:
    """What a column is, for one user."""
    if of.aggregate is Aggregate.SUM:
        return f"sum of {of.event}"
    if of.aggregate is Aggregate.COUNT:
        return f"number of {of.event}"
    return f"whether there was any {of.event}"


def metric(of: Metric) -> str:
    """What a metric is."""
    if of.denominator is None:
        return f"{column(of.numerator)}, mean per user"
    return f"{column(of.numerator)} over {column(of.denominator)}, both over all users of the arm"


def reading(kind: OperationalKind, value: float | None, *, relative: bool) -> str:
    """A guardrail's value with its unit."""
    if value is None:
        return "no data"
    if relative:
        return f"{number(value)} × stable"
    if kind is OperationalKind.P99_SECONDS:
        return f"{number(value)} s"
    return percent(value, sign=False) if kind is not OperationalKind.QUERY else number(value)


def _short(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")


def _minus(text: str) -> str:
    return text.replace("-", MINUS)
