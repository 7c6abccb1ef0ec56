"""The settings behind the objects: sky by the time of day, and ground, buildings or walls by the setting."""

import random
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from training.captioner.objects import RGB, mix

SKIES: dict[str, tuple[RGB, RGB]] = {
    "day": ((96, 170, 232), (206, 232, 246)), "sunset": ((92, 42, 104), (255, 176, 84)), "night": ((8, 10, 34), (34,
    42, 92)),
    "rain": ((74, 82, 94), (138, 146, 154)),
}  # fmt: skip
LIGHT: dict[str, tuple[RGB, float]] = {
    "day": ((255, 255, 255), 0.0), "sunset": ((120, 40, 40), 0.35), "night": ((10, 14, 50), 0.5), "rain": ((84, 90,
    98), 0.32),
}  # fmt: skip
HORIZON = 0.56


@dataclass(frozen=True, slots=True)
class Brush:
    """A pen over a square canvas, in canvas widths; `lit` gives a colour under the time of day's light."""

    draw: ImageDraw.ImageDraw
    side: int
    time: str
    rng: random.Random

    def lit(self, colour: RGB) -> RGB:
        tint, share = LIGHT[self.time]
        return mix(colour, tint, share)

    def poly(self, colour: RGB, *points: tuple[float, float]) -> None:
        self.draw.polygon([(x * self.side, y * self.side) for x, y in points], fill=colour)

    def box(self, colour: RGB, left: float, top: float, right: float, bottom: float) -> None:
        self.poly(colour, (left, top), (right, top), (right, bottom), (left, bottom))

    def oval(self, colour: RGB, x: float, y: float, rx: float, ry: float | None = None) -> None:
        ry = rx if ry is None else ry
        s = self.side
        self.draw.ellipse(((x - rx) * s, (y - ry) * s, (x + rx) * s, (y + ry) * s), fill=colour)

    def line(self, colour: RGB, width: float, *points: tuple[float, float]) -> None:
        scaled = [(x * self.side, y * self.side) for x, y in points]
        self.draw.line(scaled, fill=colour, width=max(1, round(width * self.side)), joint="curve")

    def near(self, value: float, spread: float) -> float:
        return value + self.rng.uniform(-spread, spread)


def backdrop(setting: str, time: str | None, side: int, flat: bool, rng: random.Random) -> Image.Image:
    """The picture without its objects: RGB, `side` x `side`; `flat` leaves out the sky's gradient."""
    sky = SKIES[time] if time else INDOOR[setting]
    image = _ramp(sky, side, flat)
    brush = Brush(ImageDraw.Draw(image), side, time or "day", rng)
    if time:
        _sky(brush)
    GROUND[setting](brush)
    return image


def rain(image: Image.Image, rng: random.Random) -> None:
    """Slanted streaks over the whole picture, in place."""
    brush = Brush(ImageDraw.Draw(image), image.width, "rain", rng)
    for _ in range(46):
        x, y = rng.random() * 1.1, rng.random() * 0.95
        brush.line((208, 220, 232), 0.009, (x, y), (x - 0.03, y + 0.085))


def _ramp(colours: tuple[RGB, RGB], side: int, flat: bool) -> Image.Image:
    if flat:
        return Image.new("RGB", (side, side), mix(*colours, 0.45))
    share = np.clip(np.linspace(0, 1 / HORIZON, side), 0, 1)[:, None]
    column = np.asarray(colours[0]) * (1 - share) + np.asarray(colours[1]) * share
    return Image.fromarray(column.astype(np.uint8)[:, None, :].repeat(side, axis=1))


def _sky(b: Brush) -> None:
    if b.time == "night":
        for _ in range(34):
            b.oval((250, 248, 220), b.rng.random(), b.rng.random() * HORIZON, b.near(0.007, 0.003))
    elif b.time == "sunset":
        x = b.near(0.5, 0.3)
        for radius, colour in ((0.3, (250, 150, 80)), (0.21, (255, 196, 96)), (0.12, (255, 240, 190))):
            b.oval(mix(colour, (255, 176, 84), 0.2), x, HORIZON, radius)
    else:
        colour = (252, 252, 252) if b.time == "day" else (58, 64, 74)
        for _ in range(4):
            x, y = b.rng.random(), b.rng.uniform(0.03, 0.26)
            for dx, dy, r in ((-0.09, 0.015, 0.05), (0, 0, 0.07), (0.09, 0.015, 0.05)):
                b.oval(colour, x + dx, y + dy, r * 1.2, r * 0.75)


def _land(b: Brush, colour: RGB, top: float = HORIZON) -> None:
    b.box(b.lit(colour), 0, top, 1, 1)


def _battlefield(b: Brush) -> None:
    _land(b, (112, 92, 66))
    for _ in range(3):
        x = b.rng.random()
        for i in range(4):
            b.oval(b.lit((70, 66, 64)), b.near(x, 0.03) + 0.03 * i, HORIZON - 0.05 - 0.09 * i, 0.035 + 0.018 * i)
        b.poly(b.lit((255, 140, 30)), (x - 0.05, HORIZON + 0.02), (x, HORIZON - 0.12), (x + 0.05, HORIZON + 0.02))
    for y in (0.64, 0.78):
        b.line(b.lit((40, 34, 30)), 0.01, (0, y), (1, b.near(y, 0.02)))
        for i in range(9):
            x = b.near(0.06 + i * 0.11, 0.02)
            b.line(b.lit((40, 34, 30)), 0.012, (x - 0.025, y - 0.035), (x + 0.025, y + 0.035))
            b.line(b.lit((40, 34, 30)), 0.012, (x + 0.025, y - 0.035), (x - 0.025, y + 0.035))


def _city(b: Brush) -> None:
    _land(b, (92, 92, 100), 0.7)
    x = -0.03
    while x < 1:
        width, top = b.rng.uniform(0.1, 0.18), b.rng.uniform(0.22, 0.48)
        grey = b.rng.randint(70, 130)
        b.box(b.lit((grey, grey, grey + 16)), x, top, x + width, 0.74)
        window = (255, 226, 120) if b.time in ("night", "sunset") else b.lit((196, 216, 236))
        columns = 3 if width > 0.13 else 2
        for row in range(int((0.72 - top) / 0.075)):
            for column in range(columns):
                left = x + width * (column + 0.25) / columns
                b.box(window, left, top + 0.03 + row * 0.075, left + 0.022, top + 0.065 + row * 0.075)
        x += width + 0.012


def _desert(b: Brush) -> None:
    _land(b, (232, 190, 112))
    for base, colour in ((0.52, (240, 204, 130)), (0.66, (222, 172, 92)), (0.8, (236, 192, 110))):
        x = b.near(0.35, 0.25)
        b.poly(
            b.lit(colour),
            (-0.1, base + 0.2),
            (x, base - 0.06),
            (x + 0.12, base + 0.01),
            (1.1, base + 0.2),
            (1.1, 1),
            (-0.1, 1),
        )
        b.poly(
            b.lit((192, 140, 72)),
            (x, base - 0.06),
            (x + 0.12, base + 0.01),
            (x + 0.5, base + 0.12),
            (x + 0.1, base + 0.14),
        )


def _forest(b: Brush) -> None:
    _land(b, (58, 92, 44), 0.66)
    for row, base in ((0, 0.68), (1, 0.78)):
        for i in range(8):
            x, height = b.near(0.03 + i * 0.135 + row * 0.06, 0.03), b.near(0.42 - row * 0.08, 0.06)
            colour = b.lit(mix((22, 84, 44), (50, 122, 62), b.rng.random()))
            b.box(b.lit((74, 50, 32)), x - 0.012, base - 0.06, x + 0.012, base + 0.05)
            for tier in range(3):
                top, foot = base - height + tier * height * 0.24, base - height + (tier + 1.6) * height * 0.32
                spread = 0.04 + 0.017 * tier
                b.poly(colour, (x, top), (x + spread, foot), (x - spread, foot))


def _graveyard(b: Brush) -> None:
    _land(b, (74, 92, 70), 0.6)
    for i in range(12):
        x = 0.03 + i * 0.085
        b.line(b.lit((30, 30, 34)), 0.012, (x, 0.4), (x, 0.62))
    b.line(b.lit((30, 30, 34)), 0.012, (0, 0.45), (1, 0.45))
    for row, y in ((0, 0.68), (1, 0.86)):
        for i in range(5):
            x, w = b.near(0.08 + i * 0.22 + row * 0.08, 0.02), 0.055
            stone = b.lit((168, 168, 170))
            if (i + row) % 3 == 2:
                b.box(stone, x - 0.015, y - 0.17, x + 0.015, y)
                b.box(stone, x - 0.05, y - 0.13, x + 0.05, y - 0.1)
            else:
                b.box(stone, x - w, y - 0.1, x + w, y)
                b.oval(stone, x, y - 0.1, w)


def _meadow(b: Brush) -> None:
    _land(b, (122, 188, 74), 0.62)
    b.oval(b.lit((98, 168, 64)), b.near(0.2, 0.1), 0.78, 0.55, 0.26)
    b.oval(b.lit((136, 200, 84)), b.near(0.85, 0.1), 0.86, 0.5, 0.28)
    for _ in range(26):
        x, y = b.rng.random(), b.rng.uniform(0.64, 0.97)
        b.oval(b.lit(b.rng.choice(((250, 240, 110), (250, 250, 250), (240, 110, 130)))), x, y, 0.013)


def _mountains(b: Brush) -> None:
    _land(b, (92, 112, 88), 0.66)
    for base, size, colour in ((0.7, 0.3, (112, 120, 146)), (0.74, 0.24, (84, 90, 116))):
        for i in range(4):
            x, h = b.near(0.08 + i * 0.29, 0.06), b.near(size * 1.5, 0.05)
            w = size * 0.85
            b.poly(b.lit(colour), (x - w, base), (x, base - h), (x + w, base))
            cut = 0.3
            b.poly(b.lit((244, 246, 250)), (x, base - h), (x + w * cut, base - h * (1 - cut)), (x + w * 0.1,
            base - h * 0.8),
                   (x - w * 0.06, base - h * (1 - cut)), (x - w * 0.14, base - h * 0.8), (x - w * cut,
                   base - h * (1 - cut)))  # fmt: skip


def _road(b: Brush) -> None:
    _land(b, (150, 160, 92))
    x = b.near(0.5, 0.06)
    b.poly(b.lit((62, 62, 68)), (x - 0.04, HORIZON), (x + 0.04, HORIZON), (1.02, 1.0), (-0.02, 1.0))
    for near, far in ((0.6, 0.66), (0.71, 0.8), (0.87, 1.0)):
        a, c = (near - HORIZON) * 0.05 + 0.004, (far - HORIZON) * 0.05 + 0.004
        b.poly(b.lit((250, 236, 150)), (x - a, near), (x + a, near), (x + c, far), (x - c, far))
    for i in range(4):
        for side in (-1, 1):
            px, h = x + side * (0.1 + i * 0.13), 0.07 + 0.07 * i
            b.line(b.lit((84, 60, 40)), 0.008 + 0.003 * i, (px, HORIZON + 0.02 + 0.04 * i), (px, HORIZON - h))
            b.line(
                b.lit((84, 60, 40)),
                0.006 + 0.003 * i,
                (px - 0.03, HORIZON - h * 0.85),
                (px + 0.03, HORIZON - h * 0.85),
            )


def _sea(b: Brush) -> None:
    _land(b, (30, 100, 164), 0.5)
    for row in range(6):
        y, step = 0.56 + row * 0.08, 0.1 + 0.015 * row
        shift = b.rng.random() * step
        points = []
        for i in range(-1, 22):
            points.append((i * step / 2 - shift, y + (0.014 if i % 2 else -0.014)))
        b.line(b.lit((146, 200, 232)), 0.012, *points)


def _snow(b: Brush) -> None:
    _land(b, (232, 238, 246), 0.6)
    b.oval(b.lit((244, 248, 252)), b.near(0.25, 0.12), 0.74, 0.5, 0.2)
    b.oval(b.lit((220, 230, 242)), b.near(0.8, 0.12), 0.82, 0.5, 0.24)
    for i in range(3):
        x, y = b.near(0.15 + i * 0.35, 0.1), 0.6
        b.poly(b.lit((210, 224, 232)), (x, y - 0.17), (x + 0.06, y), (x - 0.06, y))
    for _ in range(60):
        b.oval((252, 252, 255), b.rng.random(), b.rng.random(), b.near(0.011, 0.004))


def _room(b: Brush) -> None:
    for i in range(10):
        b.box((204, 176, 138), 0.05 + i * 0.1, 0, 0.09 + i * 0.1, 0.72)
    b.box((124, 78, 46), 0, 0.72, 1, 1)
    for i in range(-3, 9):
        b.line((92, 56, 34), 0.008, (0.5 + (i - 2.5) * 0.12, 0.72), (0.5 + (i - 2.5) * 0.26, 1))
    b.box((240, 236, 226), 0, 0.695, 1, 0.725)
    x = b.near(0.5, 0.3)
    b.box((92, 60, 36), x - 0.13, 0.08, x + 0.13, 0.4)
    b.box((190, 220, 240), x - 0.1, 0.11, x + 0.1, 0.37)
    b.line((92, 60, 36), 0.018, (x, 0.1), (x, 0.38))
    b.line((92, 60, 36), 0.018, (x - 0.1, 0.24), (x + 0.1, 0.24))


def _space(b: Brush) -> None:
    for _ in range(70):
        b.oval((255, 255, 250), b.rng.random(), b.rng.random(), b.near(0.006, 0.003))
    for _ in range(6):
        b.oval(mix((84, 30, 120), (24, 50, 120), b.rng.random()), b.rng.random(), b.near(0.5, 0.4), 0.12, 0.05)
    x = b.rng.choice((0.1, 0.9))
    b.oval((150, 96, 70), x, 0.93, 0.36)
    b.oval((112, 66, 50), b.near(x, 0.1), 0.86, 0.08, 0.05)
    for _ in range(12):
        b.oval((255, 255, 250), b.rng.random(), b.rng.random() * 0.6, 0.008)


def _stage(b: Brush) -> None:
    b.box((148, 100, 54), 0, 0.74, 1, 1)
    b.poly((250, 236, 178), (b.near(0.5, 0.1), 0.0), (0.86, 0.78), (0.14, 0.78))
    b.oval((255, 246, 206), 0.5, 0.8, 0.38, 0.07)
    for side in (0, 1):
        for i in range(4):
            width = 0.2 - i * 0.05
            colour = (160, 18, 30) if i % 2 == 0 else (110, 10, 22)
            b.box(colour, 0 if side == 0 else 1 - width, 0, width if side == 0 else 1, 0.8)
    for i in range(7):
        b.oval((176, 26, 36), 0.07 + i * 0.145, 0.02, 0.085, 0.085)


def _underwater(b: Brush) -> None:
    for _ in range(4):
        x = b.rng.random()
        b.poly((66, 170, 190), (x, 0), (x + 0.07, 0), (x - 0.08, 0.85), (x - 0.26, 0.85))
    b.oval((206, 184, 124), 0.3, 1.0, 0.6, 0.13)
    b.oval((190, 168, 110), 0.85, 1.02, 0.45, 0.16)
    for i in range(8):
        x, h = b.near(0.06 + i * 0.125, 0.03), b.rng.uniform(0.14, 0.34)
        wave = [(x + (0.022 if k % 2 else -0.022), 0.98 - h * k / 6) for k in range(7)]
        b.line((20, 112, 70), 0.022, *wave)
    for _ in range(16):
        x, y, r = b.rng.random(), b.rng.random() * 0.85, b.rng.uniform(0.012, 0.026)
        b.oval((216, 244, 250), x, y, r)
        b.oval((40, 140, 172), x, y, r * 0.6)


INDOOR: dict[str, tuple[RGB, RGB]] = {
    "room": ((224, 200, 164), (214, 186, 148)), "space": ((6, 6, 22), (30, 18, 58)), "stage": ((30, 18, 24), (66, 34,
    40)),
    "underwater": ((70, 186, 206), (10, 74, 120)),
}  # fmt: skip
GROUND: dict[str, Callable[[Brush], None]] = {
    "battlefield": _battlefield, "city": _city, "desert": _desert, "forest": _forest, "graveyard": _graveyard,
    "meadow": _meadow,
    "mountains": _mountains, "road": _road, "sea": _sea, "snow": _snow, "room": _room, "space": _space, "stage": _stage,
    "underwater": _underwater,
}  # fmt: skip
