"""The demo's world: drawn pictures, invented people, and a taste that is planted and therefore known.

Each person belongs to a segment that likes some things and some settings. Who sees a picture likes it (label 1) with
probability `sigmoid(BIAS + person + picture + LIKE * (thing liked) + LIKE * (setting liked))`, where `person` and
`picture` are normal effects of their own. Who sees what, and when, is independent of all of these.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from training.captioner.scene import COLOURS, INDOORS, PLACES, STYLES, TEXTURES, TIMES, WORDS, Scene
from training.data.dataset import Dataset
from training.data.synthetic import expected_auc, sigmoid

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

LIKES: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "sailor": (("ship", "anchor", "fish", "duck"), ("sea", "underwater")),
    "townsman": (("car", "clock", "guitar", "umbrella"), ("city", "stage")),
    "farmer": (("horse", "tree", "flower", "bird"), ("meadow", "forest")),
    "stargazer": (("rocket", "robot", "planet", "saucer"), ("space", "desert")),
}
"""Per segment the things and the settings that it likes; nothing is liked by two."""
SEGMENTS = tuple(LIKES)
KINDS = tuple(kind for kinds, _ in LIKES.values() for kind in kinds)
SETTINGS = tuple(setting for _, settings in LIKES.values() for setting in settings)
BIAS = -1.0
LIKE = 1.5
USER_SD = 0.6
ITEM_SD = 0.4
START = 1_700_000_000  # 2023-11-14, UTC
PERIOD_SECONDS = 90 * 86400


@dataclass(frozen=True)
class World:
    """What was drawn. Users and items are numbered from 0 here, from 1 in their ids.

    Attributes:
        dataset: interactions, items and users (with their segment); no images yet.
        scenes: per item id what its picture shows.
        truth: what pictures are worth.
    """

    dataset: Dataset
    scenes: dict[str, Scene]
    truth: Truth


@dataclass(frozen=True)
class Truth:
    """AUC over all interactions of the best predictors that exist for an item never seen before.

    Both know the person's effect and segment; one also knows what the picture shows. Expectations over labels.
    """

    with_pictures: float
    without_pictures: float

    @property
    def lift(self) -> float:
        """What knowing the picture adds."""
        return self.with_pictures - self.without_pictures


def draw(seed: int, users: int, items: int, interactions: int) -> World:
    """Draw a world; the same arguments give the same one."""
    rng = np.random.default_rng(seed)
    scenes = scenes_of(random.Random(seed), items)
    segments: Ints = np.arange(users) % len(SEGMENTS)
    person, picture = rng.normal(0.0, USER_SD, users), rng.normal(0.0, ITEM_SD, items)
    popularity = 1.0 / np.sqrt(np.arange(1, items + 1))
    who = rng.integers(users, size=interactions)
    what = rng.choice(rng.permutation(items), size=interactions, p=popularity / popularity.sum())
    when = np.sort(rng.choice(PERIOD_SECONDS, size=interactions, replace=False)) + START
    taste = LIKE * liked(scenes)[segments[who], what]
    probabilities = sigmoid(BIAS + person[who] + picture[what] + taste)
    user_ids, item_ids = [_id("u", number) for number in range(users)], [_id("i", number) for number in range(items)]
    dataset = Dataset.of(
        pd.DataFrame(
            {
                "user_id": [user_ids[number] for number in who],
                "item_id": [item_ids[number] for number in what],
                "label": (rng.random(interactions) < probabilities).astype(np.float32),
                "timestamp": when.astype(np.int64),
            }
        ),
        pd.DataFrame({"item_id": item_ids}),
        pd.DataFrame({"user_id": user_ids, "segment": [SEGMENTS[number] for number in segments]}),
    )
    # Each segment likes as many things and settings as any other, so it says nothing about an unknown picture.
    truth = Truth(expected_auc(person[who] + taste, probabilities), expected_auc(person[who], probabilities))
    return World(dataset, dict(zip(item_ids, scenes, strict=True)), truth)


def _id(letter: str, number: int) -> str:
    return f"{letter}{number + 1:04d}"


def scenes_of(rng: random.Random, count: int) -> list[Scene]:
    """Every pair of thing and setting about equally often; all else at random, and of no consequence."""
    pairs = [(kind, setting) for kind in KINDS for setting in SETTINGS]
    dealt = [pair for _ in range(-(-count // len(pairs))) for pair in rng.sample(pairs, len(pairs))]
    return [_scene(rng, kind, setting) for kind, setting in dealt[:count]]


def _scene(rng: random.Random, kind: str, setting: str) -> Scene:
    return Scene(
        kind=kind,
        colour=rng.choice(COLOURS),
        count=rng.choice((1, 1, 2, 3)),
        place=rng.choice(PLACES),
        second=None,
        setting=setting,
        time=None if setting in INDOORS else rng.choice(TIMES),
        style=rng.choice(STYLES),
        texture=rng.choice(TEXTURES),
        tone="colour",
        word=rng.choice(WORDS) if rng.random() < 0.3 else None,
    )


def liked(scenes: Sequence[Scene]) -> Floats:
    """[segments, items]: 0, 1 or 2, how many of thing and setting the segment likes."""
    rows = [
        [(scene.kind in kinds) + (scene.setting in settings) for scene in scenes] for kinds, settings in LIKES.values()
    ]
    return np.array(rows, dtype=np.float64)
