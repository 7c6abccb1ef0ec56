"""Rendered pictures with their scenes, made by several processes, as the image processor's resize leaves them."""

import ast
import hashlib
import io
import multiprocessing
import os
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from training.captioner.render import render
from training.captioner.scene import Scene, sample_scene

SIDE = 96
SOURCE_SIZES = (96, 96, 96, 96, 96, 112, 128, 144, 192, 256)
SEED_STRIDE = 1 << 40
CHUNK = 250


@dataclass(frozen=True, slots=True)
class Pictures:
    """`pixels` uint8 [N, SIDE, SIDE, 3] and the N scenes that they show."""

    pixels: NDArray[np.uint8]
    scenes: tuple[Scene, ...]


def picture(seed: int) -> tuple[Scene, Image.Image]:
    """A sampled scene as a file would hold it: some source size, every second one through JPEG."""
    rng = random.Random(seed)
    scene = sample_scene(rng)
    image = render(scene, rng.getrandbits(48), rng.choice(SOURCE_SIZES))
    if rng.random() < 0.5:
        image = through_jpeg(image, rng.randint(60, 95))
    return scene, image


def through_jpeg(image: Image.Image, quality: int) -> Image.Image:
    """`image` written as JPEG and read again."""
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality)
    return Image.open(file).convert("RGB")


def shrink(image: Image.Image) -> NDArray[np.uint8]:
    """The image processor's resize of a square RGB picture: uint8 [SIDE, SIDE, 3]."""
    return np.asarray(image.resize((SIDE, SIDE), Image.Resampling.BICUBIC), dtype=np.uint8)


def make_pictures(seed: int, count: int, workers: int, progress: Callable[[int], None] = lambda done: None) -> Pictures:
    """Render `count` pictures; the result depends on `seed` and `count` alone, never on `workers`.

    Picture i comes from the number `seed * 2**40 + i`, so two seeds share no picture. `progress` is called with the
    number of pictures done.
    """
    pixels = np.empty((count, SIDE, SIDE, 3), dtype=np.uint8)
    scenes: list[Scene] = []
    spans = [(seed * SEED_STRIDE + start, min(CHUNK, count - start)) for start in range(0, count, CHUNK)]
    for chunk, found in _chunks(spans, workers):
        pixels[len(scenes) : len(scenes) + len(found)] = chunk
        scenes.extend(found)
        progress(len(scenes))
    return Pictures(pixels, tuple(scenes))


def _chunks(spans: list[tuple[int, int]], workers: int) -> Iterator[tuple[NDArray[np.uint8], list[Scene]]]:
    if workers <= 1:
        yield from map(_chunk, spans)
        return
    with multiprocessing.get_context("spawn").Pool(workers) as pool:
        yield from pool.imap(_chunk, spans)


def _chunk(span: tuple[int, int]) -> tuple[NDArray[np.uint8], list[Scene]]:
    first, count = span
    made = [picture(first + i) for i in range(count)]
    return np.stack([shrink(image) for _, image in made]), [scene for scene, _ in made]


def cached_pictures(
    folder: Path, seed: int, count: int, workers: int, progress: Callable[[int], None] = lambda done: None
) -> Pictures:
    """`make_pictures`, kept in `folder` by a name that follows from seed, count and the renderer's own source."""
    path = folder / f"pictures-{seed}-{count}-{renderer_digest()[:12]}.npy"
    if path.exists():
        scenes = tuple(sample_scene(random.Random(seed * SEED_STRIDE + i)) for i in range(count))
        return Pictures(np.load(path, allow_pickle=False), scenes)
    pictures = make_pictures(seed, count, workers, progress)
    folder.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".unfinished")
    with unfinished.open("wb") as file:
        np.save(file, pictures.pixels, allow_pickle=False)
        file.flush()
        os.fsync(file.fileno())
    os.replace(unfinished, path)
    return pictures


def renderer_digest() -> str:
    """sha256 over the syntax trees of the modules that decide a picture's pixels (their layout does not matter)."""
    names = (
        "scene",
        "shapes",
        "kinds_living",
        "kinds_things",
        "kinds_travel",
        "objects",
        "backdrops",
        "render",
        "pictures",
    )
    here = Path(__file__).parent
    trees = [ast.dump(ast.parse((here / f"{name}.py").read_text(encoding="utf-8"))) for name in names]
    return hashlib.sha256("".join(trees).encode()).hexdigest()
