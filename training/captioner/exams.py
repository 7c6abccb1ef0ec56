"""The two sets of pictures that the captioner is examined on: scenes that training never drew, and film posters."""

import io
import itertools
import random
from collections.abc import Iterable, Iterator

from PIL import Image

from training.captioner.pictures import SEED_STRIDE, picture, through_jpeg
from training.captioner.scene import Scene
from training.data.posters import GENRES, poster_scene, render_poster

BATCH = 64
Exam = Iterable[tuple[Scene, Image.Image]]


def held_out(seed: int, count: int) -> Iterator[tuple[Scene, Image.Image]]:
    """`count` pictures of a seed that training does not use."""
    for i in range(count):
        yield picture(seed * SEED_STRIDE + i)


def posters(seed: int, count: int) -> Iterator[tuple[Scene, Image.Image]]:
    """`count` posters of made-up films, as files of 256 pixels: every genre, alone and with others, in every decade."""
    rng = random.Random(seed)
    names = [genre for genre in GENRES if genre != "unknown"]
    firsts = itertools.cycle(GENRES)
    for i, first in zip(range(count), firsts, strict=False):
        others = [] if first == "unknown" else rng.sample([name for name in names if name != first], rng.randint(0, 3))
        year = rng.choice((None, *range(1930, 1999)))
        genres, title = [first, *others], f"Film {i}"
        poster = render_poster(genres, year, title)
        yield poster_scene(genres, year, title), through_jpeg(poster, 85) if i % 2 else through_png(poster)


def through_png(image: Image.Image) -> Image.Image:
    """`image` written as PNG and read again."""
    file = io.BytesIO()
    image.save(file, "PNG")
    return Image.open(file)


def batches(exam: Exam, size: int = BATCH) -> Iterator[list[tuple[Scene, Image.Image]]]:
    """The exam in lists of `size`, so that a few pictures are in memory at a time."""
    rest = iter(exam)
    while batch := list(itertools.islice(rest, size)):
        yield batch
