"""The vector parts that object kinds are made of, in a square from -1 to 1 (x to the right, y down)."""

import math
from dataclasses import dataclass
from typing import Literal

Point = tuple[float, float]
Role = Literal["main", "dark", "light"]


@dataclass(frozen=True, slots=True)
class Part:
    """A polygon (width 0) or a polyline of `width`; `role` says which of the object's shades paints it."""

    role: Role
    points: tuple[Point, ...]
    width: float = 0.0


Shape = tuple[Part, ...]


def poly(*points: Point, role: Role = "main") -> Part:
    """A filled polygon."""
    return Part(role, points)


def line(width: float, *points: Point, role: Role = "main") -> Part:
    """A polyline with round ends."""
    return Part(role, points, width)


def box(left: float, top: float, right: float, bottom: float, role: Role = "main") -> Part:
    """An upright rectangle."""
    return Part(role, ((left, top), (right, top), (right, bottom), (left, bottom)))


def arc_points(cx: float, cy: float, rx: float, ry: float, start: float, end: float) -> tuple[Point, ...]:
    """Points on an ellipse from `start` to `end` degrees (0 = right, 90 = down)."""
    steps = max(4, round(abs(end - start) / 18))
    angles = [math.radians(start + (end - start) * i / steps) for i in range(steps + 1)]
    return tuple((cx + rx * math.cos(a), cy + ry * math.sin(a)) for a in angles)


def oval(
    cx: float,
    cy: float,
    rx: float,
    ry: float | None = None,
    role: Role = "main",
    start: float = 0,
    end: float = 360,
) -> Part:
    """An ellipse, or the part of it between two angles closed by its chord; `ry` defaults to `rx`."""
    return Part(role, arc_points(cx, cy, rx, rx if ry is None else ry, start, end))


def arc(
    width: float, cx: float, cy: float, rx: float, ry: float, start: float, end: float, role: Role = "main"
) -> Part:
    """An open arc drawn with a pen of `width`."""
    return Part(role, arc_points(cx, cy, rx, ry, start, end), width)


def star_points(cx: float, cy: float, outer: float, inner: float, tips: int) -> tuple[Point, ...]:
    """The corners of a star with one tip up."""
    corners = []
    for i in range(2 * tips):
        radius = outer if i % 2 == 0 else inner
        angle = math.pi * i / tips - math.pi / 2
        corners.append((cx + radius * math.cos(angle), cy + radius * math.sin(angle)))
    return tuple(corners)
