"""The report's plots, drawn from the document alone. Each has words that say the same."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from serving.rollout.report import words
from serving.rollout.report.document import GroupView, MetricView, Point, Report

INK, SOFT, LINE, ACCENT, UP, DOWN = "#1d2430", "#667085", "#e3e6ec", "#2f5bd7", "#11734b", "#b3261e"
_WIDTH, _HEIGHT = 6.4, 3.0
"""Inches; text of 10 points is then readable on a phone."""


@dataclass(frozen=True)
class Plot:
    """A drawing. `words` is what it shows, for who cannot see it."""

    name: str
    title: str
    words: str
    figure: Figure


def plots(report: Report) -> list[Plot]:
    """Those plots that there are numbers for."""
    found = [draw(report) for draw in (_progress, _lift, _extra, _sizes, _limits, _metrics, _weekdays, _days)]
    return [each for each in found if each is not None]


def _progress(report: Report) -> Plot | None:
    if report.progress is None:
        return None
    found = report.progress
    figure, axes = _canvas(1.4)
    axes.barh([0, 1], [min(found.users_part, 1.0), found.time_part], color=ACCENT, height=0.5)
    axes.axvline(min(found.minimum_days / found.maximum_days, 1.0), 0.0, 0.5, color=INK, linewidth=1.5)
    axes.set_xlim(0, 1)
    _rows(axes, ["planned users", "longest time"])
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: words.percent(value, sign=False)))
    return Plot("progress", "Progress to the plan; the line is minimumTime", " ".join(found.said), figure)


def _lift(report: Report) -> Plot | None:
    points = [each for each in report.points if each.relative is not None]
    if not points or report.primary is None:
        return None
    figure, axes = _canvas()
    _band(axes, points, lambda each: (each.relative, each.low, each.high), SOFT if report.doubts else ACCENT)
    _stages(axes, report.points)
    axes.axhline(0, color=INK, linewidth=1)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: words.percent(value)))
    last = points[-1]
    said = (
        f"Lift of {report.primary.name} over time: {words.percent(last.relative)} at the newest of {len(points)} "
        f"looks, interval {words.interval(last.low, last.high)}.{_doubtful(report)}"
    )
    title = f"Lift of {report.primary.name}, with its interval" + (", in doubt" if report.doubts else "")
    return Plot("lift", title, said, figure)


def _doubtful(report: Report) -> str:
    return f" The sample is in doubt: {'; '.join(report.doubts)}." if report.doubts else ""


def _extra(report: Report) -> Plot | None:
    points = [each for each in report.points if each.extra is not None]
    if not points or not report.unit:
        return None
    figure, axes = _canvas()
    _band(axes, points, lambda each: (each.extra, each.extra_low, each.extra_high), UP)
    _stages(axes, report.points)
    axes.axhline(0, color=INK, linewidth=1)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: words.number(round(value, 6))))
    last = points[-1]
    ends = f"{words.number(_whole(last.extra_low))} to {words.number(_whole(last.extra_high))}"
    said = (
        f"Cumulative lift: the candidate's users did {words.number(_whole(last.extra))} more ({report.unit}) "
        f"than as many on stable; between {ends}."
    )
    return Plot("cumulative", f"Cumulative lift ({report.unit})", said, figure)


def _sizes(report: Report) -> Plot | None:
    points = [each for each in report.points if each.candidate_part is not None]
    if not points or report.ratio is None:
        return None
    figure, axes = _canvas()
    at = [each.at for each in points]
    wide = [min(3.29 * 0.5 / (each.exposed_stable + each.exposed_candidate) ** 0.5, 0.5) for each in points]
    axes.fill_between(at, [0.5 - w for w in wide], [0.5 + w for w in wide], color=SOFT, alpha=0.15, linewidth=0)
    axes.plot(at, [each.candidate_part for each in points], color=ACCENT, linewidth=2, **_marks(points))
    _dates(axes)
    axes.axhline(0.5, color=INK, linewidth=1)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: words.percent(value, sign=False)))
    last = points[-1]
    said = (
        f"The candidate's part of exposed users: {words.percent(last.candidate_part, sign=False)} of "
        f"{last.exposed_stable + last.exposed_candidate:,}; one half is right. Grey is where 999 of 1,000 right splits "
        f"lie at a single look. The test over all looks gives p {words.chance(report.ratio.p)}."
    )
    return Plot("sizes", "Candidate's part of exposed users", said, figure)


def _limits(report: Report) -> Plot | None:
    shown = [each for each in report.limits if each.used is not None]
    if not shown:
        return None
    figure, axes = _canvas(0.9 + 0.45 * len(shown))
    rows = range(len(shown))
    used = [each.used or 0.0 for each in shown]
    axes.barh(rows, used, color=[DOWN if each.breached else UP for each in shown], height=0.5)
    axes.axvline(1, color=INK, linewidth=1.5)
    axes.set_xlim(0, max(1.25, 1.1 * max(used)))
    _rows(axes, [each.name for each in shown])
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: words.percent(value, sign=False)))
    said = "; ".join(f"{each.name} reads {each.value_text}, limit {each.limit_text}" for each in shown)
    return Plot("guardrails", "Guardrails, as part of their limits", f"{said}.", figure)


def _metrics(report: Report) -> Plot | None:
    shown = [each for each in report.metrics if each.relative is not None]
    if len(shown) < 2:
        return None
    figure, axes = _canvas(0.9 + 0.45 * len(shown))
    edges = {row: _edge(each) for row, each in enumerate(shown) if each.margin is not None}
    _forest(axes, shown, tuple(edges.values()))
    for row, edge in edges.items():
        axes.plot([edge, edge], [row - 0.35, row + 0.35], color=DOWN, linewidth=2)
    _rows(axes, [each.name for each in shown])
    said = "; ".join(f"{each.name} {words.percent(each.relative)} {_range(each)}" for each in shown)
    return Plot("metrics", "All metrics; a red line is a guardrail's margin", f"{said}.", figure)


def _weekdays(report: Report) -> Plot | None:
    return _groups(report.weekdays, "weekdays", "Lift by day of the week of the first exposure")


def _days(report: Report) -> Plot | None:
    return _groups(report.days, "days", "Lift by day of the first exposure")


def _groups(groups: Sequence[GroupView], name: str, title: str) -> Plot | None:
    shown = [each for each in groups if each.relative is not None]
    if len(shown) < 2:
        return None
    figure, axes = _canvas(0.9 + 0.32 * len(shown))
    _forest(axes, shown)
    _rows(axes, [each.name for each in shown])
    return Plot(name, title, _several(shown), figure)


def _several(shown: Sequence[GroupView]) -> str:
    """All of them where they are few; else how they spread, as the page's table has each."""
    if len(shown) <= 7:
        return "; ".join(f"{each.name} {words.percent(each.relative)} {_range(each)}" for each in shown) + "."
    ordered = sorted(shown, key=lambda each: each.relative or 0.0)
    low, high = ordered[0], ordered[-1]
    away = sum(1 for each in shown if (each.low or 0.0) > 0 or (each.high or 0.0) < 0)
    return (
        f"{len(shown)} days, from {words.percent(low.relative)} ({low.name}) to {words.percent(high.relative)} "
        f"({high.name}); the intervals of {away} exclude zero."
    )


def _canvas(height: float = _HEIGHT) -> tuple[Figure, Any]:
    figure = Figure(figsize=(_WIDTH, height), layout="constrained")
    figure.patch.set_alpha(0)
    axes = figure.add_subplot()
    axes.patch.set_alpha(0)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(SOFT)
    axes.tick_params(colors=SOFT, labelcolor=SOFT, labelsize=10)
    axes.grid(visible=True, color=LINE, linewidth=0.8)
    axes.set_axisbelow(True)
    return figure, axes


def _band(
    axes: Any,
    points: Sequence[Point],
    of: Callable[[Point], tuple[float | None, float | None, float | None]],
    color: str,
) -> None:
    """An estimate with its interval over time; looks without an interval have a gap in the band."""
    at = [each.at for each in points]
    low, high = ([_gap(of(each)[place]) for each in points] for place in (1, 2))
    axes.fill_between(at, low, high, color=color, alpha=0.2, linewidth=0)
    axes.plot(at, low, color=color, alpha=0.5, linewidth=1)
    axes.plot(at, high, color=color, alpha=0.5, linewidth=1)
    axes.plot(at, [_gap(of(each)[0]) for each in points], color=color, linewidth=2, **_marks(points))
    _dates(axes)
    ends = [value for each in points[len(points) // 2 :] for value in of(each)[1:] if value is not None]
    if ends:  # the first intervals are so wide that nothing else would be seen
        room = 0.35 * (max(*ends, 0.0) - min(*ends, 0.0)) or 1e-6
        axes.set_ylim(min(*ends, 0.0) - room, max(*ends, 0.0) + room)


def _dates(axes: Any) -> None:
    locator = AutoDateLocator(minticks=3, maxticks=7)
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))


def _stages(axes: Any, points: Sequence[Point]) -> None:
    """A line where the share of users changed, with the new share."""
    before: float | None = None
    for each in points:
        if each.share is not None and each.share != before:
            axes.axvline(each.at, color=SOFT, linewidth=1, linestyle=(0, (2, 3)))
            axes.annotate(
                f" {each.share:g} %", (each.at, 1), xycoords=("data", "axes fraction"), color=SOFT, fontsize=9, va="top"
            )
        before = each.share


def _edge(each: MetricView) -> float:
    """The lift at which a guardrail is lost."""
    margin = each.margin or 0.0
    return -margin if each.better == "increase" else margin


def _forest(axes: Any, shown: Sequence[MetricView | GroupView], edges: Sequence[float] = ()) -> None:
    """A row each: estimate and interval; an open end goes to the edge."""
    ends = [value for each in shown for value in (each.relative, each.low, each.high) if value is not None]
    ends += edges
    room = 0.1 * (max(*ends, 0.0) - min(*ends, 0.0)) or 0.01
    left, right = min(*ends, 0.0) - room, max(*ends, 0.0) + room
    for row, each in enumerate(shown):
        ends_of = (each.low if each.low is not None else left, each.high if each.high is not None else right)
        axes.plot(ends_of, (row, row), color=ACCENT, linewidth=2.5, solid_capstyle="round")
        axes.plot([each.relative], [row], color=ACCENT, marker="o", markersize=7)
    axes.axvline(0, color=INK, linewidth=1)
    axes.set_xlim(left, right)
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: words.percent(round(value, 12))))


def _rows(axes: Any, names: Sequence[str]) -> None:
    shown = [name if len(name) <= 22 else f"{name[:21]}…" for name in names]
    axes.set_yticks(range(len(names)), shown, parse_math=False)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.grid(visible=False, axis="y")


def _range(each: MetricView | GroupView) -> str:
    return words.interval(each.low, each.high)


def _marks(points: Sequence[Point]) -> dict[str, Any]:
    """A single look, or a few, would be no line to see."""
    return {"marker": "o", "markersize": 5} if len(points) <= 12 else {}


def _gap(value: float | None) -> float:
    return float("nan") if value is None else value


def _whole(value: float | None) -> float | None:
    return None if value is None else float(round(value))
