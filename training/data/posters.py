"""Posters for films that have no pictures: rendered from a film's genres and decade; its title only seeds the choices.

No package carries real pictures with real interactions, so these stand in for MovieLens-100K's posters; say so wherever
a figure made with them appears.
"""

import hashlib
import random
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image

from training.captioner.render import render
from training.captioner.scene import COLOURS, GREYS, INDOORS, PLACES, Scene

POSTER_SIZE = 256


@dataclass(frozen=True, slots=True)
class Look:
    """What stands for a genre: its objects, settings, colours, times of day and words."""

    kinds: tuple[str, ...]
    settings: tuple[str, ...]
    colours: tuple[str, ...]
    times: tuple[str, ...]
    words: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Print:
    """How a decade printed its posters."""

    tones: tuple[str, ...]
    styles: tuple[str, ...]
    textures: tuple[str, ...]


class PosterError(ValueError):
    """A film that no poster can be made for."""


GENRES: dict[str, Look] = {
    "unknown": Look(
        ("book", "envelope", "clock"), ("room",), ("grey", "white"), ("day",), ("lost",),
    ),
    "Action": Look(
        ("helicopter", "bomb", "car"), ("city", "road"), ("red", "orange", "black"), ("sunset", "day"),
        ("escape", "hero", "fire"),
    ),
    "Adventure": Look(
        ("ship", "horse", "anchor"), ("sea", "mountains", "desert"), ("brown", "teal", "yellow"), ("day", "sunset"),
        ("island", "river", "gold"),
    ),
    "Animation": Look(
        ("duck", "robot", "fish"), ("meadow", "underwater"), ("yellow", "teal", "pink"), ("day",), ("wild", "dream"),
    ),
    "Children's": Look(
        ("balloon", "snowman", "train"), ("meadow", "snow"), ("red", "blue", "yellow"), ("day",), ("home", "summer"),
    ),
    "Comedy": Look(
        ("umbrella", "cat", "bottle", "house"), ("room", "city", "meadow"), ("yellow", "orange", "pink", "green"),
        ("day",), ("summer", "home"),
    ),
    "Crime": Look(
        ("gun", "lock", "knife"), ("city", "room"), ("black", "red", "grey"), ("night", "rain"), ("crime", "death"),
    ),
    "Documentary": Look(
        ("camera", "book", "flag"), ("city", "mountains", "room"), ("grey", "blue", "green"), ("day",), ("truth",),
    ),
    "Drama": Look(
        ("house", "envelope", "tree", "candle"), ("room", "road", "meadow", "city"),
        ("brown", "purple", "blue", "grey"), ("rain", "sunset", "day"), ("hope", "truth", "time", "river"),
    ),
    "Fantasy": Look(
        ("crown", "castle", "lantern"), ("mountains", "forest"), ("purple", "teal", "yellow"), ("sunset", "night"),
        ("magic", "king"),
    ),
    "Film-Noir": Look(
        ("hat", "gun", "lantern"), ("city", "road"), ("black", "grey", "white"), ("night", "rain"),
        ("secret", "crime"),
    ),
    "Horror": Look(
        ("skull", "ghost", "bat", "spider"), ("graveyard", "forest"), ("black", "green", "red", "white"),
        ("night", "rain"), ("fear", "death"),
    ),
    "Musical": Look(
        ("guitar", "note", "drum"), ("stage",), ("pink", "red", "yellow", "blue"), ("day",), ("music", "dream"),
    ),
    "Mystery": Look(
        ("magnifier", "key", "eye"), ("room", "forest", "graveyard"), ("purple", "grey", "green"), ("night", "rain"),
        ("secret", "lost"),
    ),
    "Romance": Look(
        ("heart", "ring", "flower"), ("meadow", "sea", "room"), ("pink", "red", "purple", "white"), ("sunset", "day"),
        ("love", "hope", "summer"),
    ),
    "Sci-Fi": Look(
        ("rocket", "saucer", "planet", "robot"), ("space",), ("teal", "blue", "white", "green"), ("night",),
        ("time", "dream"),
    ),
    "Thriller": Look(
        ("knife", "eye", "clock", "mask"), ("city", "road", "room"), ("black", "red", "blue"), ("night", "rain"),
        ("fear", "escape", "secret"),
    ),
    "War": Look(
        ("tank", "plane", "shield"), ("battlefield",), ("green", "brown", "grey"), ("day", "rain", "sunset"),
        ("war", "hero"),
    ),
    "Western": Look(
        ("horse", "cactus", "horseshoe", "hat"), ("desert",), ("brown", "orange", "yellow", "black"),
        ("sunset", "day"), ("west", "gold", "wild"),
    ),
}  # fmt: skip

DECADES: dict[int, Print] = {
    1930: Print(("black-and-white",), ("woodcut", "drawing"), ("scratched",)),
    1940: Print(("black-and-white", "sepia"), ("drawing", "painting"), ("scratched", "grainy")),
    1950: Print(("sepia", "colour"), ("painting", "woodcut"), ("grainy", "dotted")),
    1960: Print(("colour",), ("poster", "woodcut"), ("dotted",)),
    1970: Print(("colour",), ("drawing", "poster"), ("grainy",)),
    1980: Print(("colour",), ("painting", "poster"), ("striped",)),
    1990: Print(("colour",), ("painting", "poster", "drawing"), ("clean",)),
}
NO_YEAR = Print(("sepia",), ("drawing",), ("dotted",))


def poster_scene(genres: Sequence[str], year: int | None, title: str) -> Scene:
    """The scene of a film's poster.

    The first genre gives the main object, its colour and the time of day; the next genre the second object; the setting
    and the word come from any of the genres; the decade gives tone, style and texture. `title` only seeds the choice
    among alternatives.

    Raises:
        PosterError: no genre, or one that MovieLens-100K does not have.
    """
    unknown = [genre for genre in genres if genre not in GENRES]
    if unknown or not genres:
        raise PosterError(
            f"genres={list(genres)!r} of {title!r}: expected at least one of {', '.join(GENRES)}; "
            "give a film without genres ['unknown']"
        )
    rng = random.Random(_seed(genres, year, title))
    looks = [GENRES[genre] for genre in genres]
    first, press = looks[0], _print(year)
    tone = "black-and-white" if "Film-Noir" in genres else rng.choice(press.tones)
    kind = rng.choice(first.kinds)
    setting = rng.choice(rng.choice(looks).settings)
    second = _second(looks, kind, rng)
    count = rng.choice((1, 1, 1, 2, 3, 4))
    return Scene(
        kind=kind,
        colour=_colour(first, tone, rng),
        count=count,
        place=rng.choice(("left", "right") if second and count == 4 else PLACES),
        second=second,
        setting=setting,
        time=None if setting in INDOORS else rng.choice(first.times),
        style=rng.choice(press.styles),
        texture=rng.choice(press.textures),
        tone=tone,
        word=rng.choice(rng.choice(looks).words) if rng.random() < 0.7 else None,
    )


def render_poster(genres: Sequence[str], year: int | None, title: str, size: int = POSTER_SIZE) -> Image.Image:
    """The film's poster: RGB, `size` x `size`; the same film always gives the same pixels."""
    return render(poster_scene(genres, year, title), _seed(genres, year, title), size)


def _second(looks: Sequence[Look], kind: str, rng: random.Random) -> str | None:
    """Another genre's object; with one genre, half the posters have a second object of its own."""
    if len(looks) == 1 and rng.random() < 0.5:
        return None
    source = looks[1] if len(looks) > 1 else looks[0]
    return rng.choice([other for other in source.kinds if other != kind])


def _colour(look: Look, tone: str, rng: random.Random) -> str:
    allowed = COLOURS if tone == "colour" else GREYS
    return rng.choice([colour for colour in look.colours if colour in allowed] or list(allowed))


def _print(year: int | None) -> Print:
    if year is None:
        return NO_YEAR
    return DECADES[min(1990, max(1930, year // 10 * 10))]


def _seed(genres: Sequence[str], year: int | None, title: str) -> int:
    name = "\n".join((title, str(year), *genres))
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:6], "big")
