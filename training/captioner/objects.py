"""Objects painted on a canvas: outline, fill, shading and hatching by the picture's style."""

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw

from training.captioner.kinds_living import LIVING
from training.captioner.kinds_things import THINGS
from training.captioner.kinds_travel import TRAVEL
from training.captioner.shapes import Part, Point, Shape

RGB = tuple[int, int, int]

SHAPES: dict[str, Shape] = {**LIVING, **THINGS, **TRAVEL}
PAINT: dict[str, RGB] = {
    "black": (30, 30, 34), "blue": (38, 84, 205), "brown": (122, 72, 34), "green": (46, 148, 58), "grey": (132, 132,
    134),
    "orange": (242, 132, 24), "pink": (246, 136, 186), "purple": (126, 50, 160), "red": (206, 32, 38), "teal": (24,
    164, 168),
    "white": (244, 244, 240), "yellow": (246, 214, 44),
}  # fmt: skip
CREAM: RGB = (246, 238, 214)
INK: RGB = (22, 20, 26)


@dataclass(frozen=True, slots=True)
class Placement:
    """Where one object stands: centre and half size in canvas widths, turn in radians."""

    x: float
    y: float
    half: float
    turn: float


@dataclass(frozen=True, slots=True)
class Shades:
    """The colours that paint an object's parts."""

    outline: RGB
    main: RGB
    dark: RGB
    light: RGB


def mix(a: RGB, b: RGB, share: float) -> RGB:
    """`a` with `share` (0 to 1) of `b`."""
    red, green, blue = (round(p + (q - p) * share) for p, q in zip(a, b, strict=True))
    return red, green, blue


def luminance(colour: RGB) -> float:
    """Rec. 601 luma from 0 to 1."""
    return (0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2]) / 255


def shades(colour: str, style: str, rng: random.Random) -> Shades:
    """An object's colours: a drawing shows its colour in the pen's strokes, the other styles in the fill."""
    red, green, blue = (min(255, max(0, channel + rng.randint(-10, 10))) for channel in PAINT[colour])
    base = (red, green, blue)
    bright = luminance(PAINT[colour])
    if style == "drawing":
        paper = INK if bright > 0.6 else CREAM
        return Shades(outline=base, main=paper, dark=base, light=mix(paper, base, 0.25))
    outline = INK if bright > 0.25 else CREAM
    dark = mix(base, INK, 0.65) if bright > 0.25 else mix(base, CREAM, 0.45)
    light = mix(base, CREAM, 0.75) if bright < 0.8 else mix(base, INK, 0.3)
    return Shades(outline=outline, main=base, dark=dark, light=light)


def paint(canvas: Image.Image, kind: str, at: Placement, shade: Shades, style: str) -> None:
    """Draw one object of `kind` on an RGB canvas, in place."""
    side = canvas.width
    half = at.half * side
    pad = math.ceil(half * 1.45)
    left, top = round(at.x * side) - pad, round(at.y * side) - pad
    tile = Image.new("RGB", (2 * pad, 2 * pad), shade.outline)
    mask = Image.new("L", tile.size, 0)
    pen = max(1.0, (0.2 if style == "drawing" else 0.13) * half)
    colours = {"main": shade.main, "dark": shade.dark, "light": shade.light}
    fill, cover = ImageDraw.Draw(tile), ImageDraw.Draw(mask)
    placed = [(part, _placed(part.points, at, half, pad)) for part in SHAPES[kind]]
    for part, points in placed:
        _stroke(cover, part, points, 255, half, pen)
    for part, points in placed:
        _stroke(fill, part, points, colours[part.role], half, 0)
    if style in ("painting", "woodcut"):
        tile = _lit(tile) if style == "painting" else _hatched(tile)
    canvas.paste(tile, (left, top), mask)


def _placed(points: Sequence[Point], at: Placement, half: float, pad: int) -> list[Point]:
    cos, sin = math.cos(at.turn) * half, math.sin(at.turn) * half
    return [(pad + x * cos - y * sin, pad + x * sin + y * cos) for x, y in points]


def _stroke(
    draw: ImageDraw.ImageDraw, part: Part, points: list[Point], colour: RGB | int, half: float, pen: float
) -> None:
    width = part.width * half + pen
    if not part.width:
        draw.polygon(points, fill=colour)
        points = [*points, points[0]]
    if width < 1:
        return
    draw.line(points, fill=colour, width=max(1, round(width)), joint="curve")
    radius = width / 2
    for x, y in (points[0], points[-1]):
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour)


def _lit(tile: Image.Image) -> Image.Image:
    """Light from above: the top a little lighter, the foot darker."""
    ramp = Image.linear_gradient("L").resize(tile.size)
    dark = Image.blend(tile, Image.new("RGB", tile.size, INK), 0.38)
    light = Image.blend(tile, Image.new("RGB", tile.size, CREAM), 0.14)
    return Image.composite(dark, light, ramp)


def _hatched(tile: Image.Image) -> Image.Image:
    """Slanted cuts across the lower half, as a woodcut shades."""
    draw = ImageDraw.Draw(tile)
    side = tile.width
    step = side / 11
    for i in range(5, 22):
        x = i * step
        draw.line((x, side * 0.42, x - side * 0.6, side * 1.02), fill=INK, width=max(1, round(side * 0.017)))
    return tile
