"""A scene drawn as a square picture: backdrop, objects, word, then the print's texture and tone."""

import random

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont, ImageOps

from training.captioner.backdrops import backdrop, rain
from training.captioner.objects import CREAM, INK, RGB, Placement, mix, paint, shades
from training.captioner.scene import Scene

SUPERSAMPLING = 2
BAND_TOP = 5 / 6
SOFT_SIDE = 72


def render(scene: Scene, seed: int, size: int = 256) -> Image.Image:
    """Draw `scene` as an RGB picture of `size` x `size` pixels.

    The same scene, seed and size give the same bytes. `seed` moves what captions do not name: exact places, turns,
    shades,
    clouds and buildings; `size` changes nothing but the resolution.
    """
    rng = random.Random(seed)
    side = size * SUPERSAMPLING
    image = backdrop(scene.setting, scene.time, side, scene.style in ("poster", "woodcut"), rng)
    image = _background_style(image, scene.style)
    for kind, at, colour in _cast(scene, rng):
        paint(image, kind, at, shades(colour, scene.style, rng), scene.style)
    if scene.time == "rain":
        rain(image, rng)
    if scene.word:
        _title(image, scene.word, rng)
    image = _texture(image.resize((size, size), Image.Resampling.BOX), scene.texture, rng)
    return _tone(image, scene.tone)


def _cast(scene: Scene, rng: random.Random) -> list[tuple[str, Placement, str]]:
    """Every object of the scene with its place; the second kind is always white, so its colour needs no name."""
    drift_x, drift_y = rng.uniform(-DRIFT, DRIFT), rng.uniform(-DRIFT, DRIFT)
    return [
        (kind, _placement(x + drift_x, y + drift_y, half, rng), scene.colour if kind == scene.kind else "white")
        for kind, x, y, half in layout(scene)
    ]


def layout(scene: Scene) -> list[tuple[str, float, float, float]]:
    """Where the objects stand before a seed moves them a little: kind, centre x and y, half size, in picture widths.

    Places are multiples of a sixth: a captioner whose patches are sixths sees an object alike wherever it stands, and
    so learns it once. That is what makes a model of this size enough.
    """
    left = {"left": 0, "centre": 1, "right": 2}[scene.place]
    crowded = scene.second is not None and scene.place == "centre"
    spots, half = _GROUPS[scene.count]
    raised = 0 if not crowded or scene.count != 2 else 1
    places = [(scene.kind, (left + x) / 6, (y + raised) / 6, half) for x, y in spots]
    if scene.second is None:
        return places
    x, y = _CROWDED_SECOND[scene.count] if crowded else {"left": (5.0, 3.0), "right": (1.0, 3.0)}[scene.place]
    return [*places, (scene.second, x / 6, y / 6, SMALL)]


DRIFT = 0.012
SMALL = 0.155
# In sixths from the left edge of the group, which is four sixths wide; and the half size of each object.
_GROUPS: dict[int, tuple[tuple[tuple[float, float], ...], float]] = {
    1: (((2.0, 2.6),), 0.3),
    2: (((1.0, 3.0), (3.0, 3.0)), SMALL),
    3: (((2.0, 2.0), (1.0, 4.0), (3.0, 4.0)), SMALL),
    4: (((1.0, 2.0), (3.0, 2.0), (1.0, 4.0), (3.0, 4.0)), SMALL),
}
_CROWDED_SECOND: dict[int, tuple[float, float]] = {1: (5.0, 1.0), 2: (3.0, 2.0), 3: (1.0, 2.0)}


def _placement(x: float, y: float, half: float, rng: random.Random) -> Placement:
    return Placement(
        x=x + rng.uniform(-0.006, 0.006),
        y=y + rng.uniform(-0.006, 0.006),
        half=half * rng.uniform(0.95, 1.04),
        turn=rng.uniform(-0.07, 0.07),
    )


def _background_style(image: Image.Image, style: str) -> Image.Image:
    if style == "painting":
        soft = image.resize((SOFT_SIDE, SOFT_SIDE), Image.Resampling.BOX)
        return soft.resize(image.size, Image.Resampling.BILINEAR)
    if style == "drawing":
        return Image.blend(image, Image.new("RGB", image.size, CREAM), 0.3)
    if style == "woodcut":
        draw, side = ImageDraw.Draw(image), image.width
        dark: RGB = mix(INK, (90, 80, 70), 0.4)
        for i in range(1, 30):
            y = i * side / 30
            draw.line((0, y, side, y + side * 0.012), fill=dark, width=max(1, round(side * 0.007)))
    return image


def _title(image: Image.Image, word: str, rng: random.Random) -> None:
    side = image.width
    draw = ImageDraw.Draw(image)
    paper, ink = rng.choice(((INK, CREAM), (CREAM, INK), ((120, 16, 22), CREAM), ((16, 32, 84), CREAM)))
    draw.rectangle((0, BAND_TOP * side, side, side), fill=paper)
    letters = ImageFont.load_default(round(side * rng.uniform(0.125, 0.14)))
    at = (side * (0.5 + rng.uniform(-0.01, 0.01)), side * (0.917 + rng.uniform(-0.005, 0.005)))
    text = " ".join(word.upper()) if len(word) <= 4 else word.upper()
    draw.text(at, text, fill=ink, font=letters, anchor="mm", stroke_width=side * 0.004, stroke_fill=ink)


def _texture(image: Image.Image, texture: str, rng: random.Random) -> Image.Image:
    if texture == "clean":
        return image
    size = image.width
    pixels = np.asarray(image, dtype=np.float32)
    noise = np.random.Generator(np.random.PCG64(rng.getrandbits(32)))
    if texture == "grainy":
        grain = Image.fromarray(noise.normal(0, 27, (112, 112)).astype(np.float32)).resize((size, size))
        pixels = pixels + np.asarray(grain)[:, :, None]
    elif texture == "striped":
        wave = np.sin(np.arange(size) * (2 * np.pi * 17 / size) + rng.random() * 6.28) > 0.1
        pixels = pixels * (1 - 0.24 * wave[:, None, None])
    elif texture == "dotted":
        axis = np.arange(size) * (2 * np.pi * 13 / size)
        dots = np.sin(axis + rng.random() * 6.28)[:, None] * np.sin(axis + rng.random() * 6.28)[None, :]
        pixels = pixels + 36 * np.clip(np.abs(dots) * 3 - 1.4, -0.7, 1)[:, :, None]
    else:
        pixels = _scratched(pixels, noise)
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


def _scratched(pixels: NDArray[np.float32], noise: np.random.Generator) -> NDArray[np.float32]:
    size = pixels.shape[0]
    image = Image.fromarray(pixels.astype(np.uint8))
    draw = ImageDraw.Draw(image)
    for _ in range(8):
        x, top, length = noise.random(), noise.random() * 0.6, 0.3 + noise.random() * 0.7
        lean = x + (noise.random() - 0.5) * 0.06
        colour = (250, 248, 240) if noise.random() < 0.7 else (30, 28, 26)
        draw.line(
            (x * size, top * size, lean * size, (top + length) * size),
            fill=colour,
            width=max(1, round(size * 0.009)),
        )
    return np.asarray(image, dtype=np.float32)


def _tone(image: Image.Image, tone: str) -> Image.Image:
    if tone == "colour":
        return image
    grey = ImageOps.grayscale(image)
    if tone == "sepia":
        return ImageOps.colorize(grey, black=(38, 22, 8), white=(255, 238, 204), mid=(158, 116, 70))
    return grey.convert("RGB")
