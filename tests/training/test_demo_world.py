"""The demo's planted world: the same on every machine, and as its docstring says."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from training.data.synthetic import sigmoid
from training.demo import world
from training.demo.build import Size
from training.demo.world import BIAS, ITEM_SD, LIKE, LIKES, SEGMENTS, USER_SD, draw

SIZE = Size()
GOLDEN_DATA = "sha256:5c0a36cdef9e67e385b4f804d12a396a21eb52569243a395cd62da330604fd31"


@pytest.fixture(scope="module")
def drawn():
    return draw(1, SIZE.users, SIZE.items, SIZE.interactions)


def likes(drawn):
    """Per interaction how many of thing and setting its user's segment likes, read from the tables alone."""
    segments = dict(zip(drawn.dataset.users["user_id"], drawn.dataset.users["segment"], strict=True))
    rows = zip(drawn.dataset.interactions["user_id"], drawn.dataset.interactions["item_id"], strict=True)
    found = []
    for user, item in rows:
        (kinds, settings), scene = LIKES[segments[user]], drawn.scenes[item]
        found.append(int(scene.kind in kinds) + int(scene.setting in settings))
    return np.array(found)


def test_the_same_seed_gives_the_same_world_on_every_machine(drawn):
    assert drawn.dataset.digest == GOLDEN_DATA
    assert draw(1, SIZE.users, SIZE.items, SIZE.interactions).scenes == drawn.scenes
    assert draw(2, SIZE.users, SIZE.items, SIZE.interactions).dataset.digest != GOLDEN_DATA


def test_ids_are_simple_and_start_at_one(drawn):
    assert drawn.dataset.users["user_id"].tolist()[:2] == ["u0001", "u0002"]
    assert drawn.dataset.items["item_id"].tolist()[-1] == "i0240"
    assert set(drawn.dataset.interactions["item_id"]) <= set(drawn.scenes)


def test_no_segment_likes_more_than_another_and_nothing_is_liked_by_two():
    kinds = [kind for liked, _ in LIKES.values() for kind in liked]
    settings = [setting for _, liked in LIKES.values() for setting in liked]
    assert len(set(kinds)) == len(kinds) == 4 * len(SEGMENTS)
    assert len(set(settings)) == len(settings) == 2 * len(SEGMENTS)


def test_labels_follow_the_planted_taste(drawn):
    liked = likes(drawn)
    effects = np.random.default_rng(0).normal(0.0, np.hypot(USER_SD, ITEM_SD), 100_000)
    for count in (0, 1, 2):
        labels = drawn.dataset.interactions["label"][liked == count]
        assert len(labels) > 500
        assert labels.mean() == pytest.approx(sigmoid(BIAS + effects + LIKE * count).mean(), abs=0.04)


def test_the_planted_lift_is_what_another_library_measures_on_a_world_drawn_by_hand(drawn):
    rng = np.random.default_rng(0)
    rows = 200_000
    liked = LIKE * rng.choice(likes(drawn), rows)
    person = rng.normal(0.0, USER_SD, rows)
    labels = rng.random(rows) < sigmoid(BIAS + person + liked + rng.normal(0.0, ITEM_SD, rows))
    assert drawn.truth.with_pictures == pytest.approx(roc_auc_score(labels, person + liked), abs=0.015)
    assert drawn.truth.without_pictures == pytest.approx(roc_auc_score(labels, person), abs=0.015)


def test_a_world_without_taste_has_no_lift(monkeypatch):
    monkeypatch.setattr(world, "LIKE", 0.0)
    assert draw(1, 50, 40, 2000).truth.lift == 0.0
