"""The scenes, their renderer and their captions' grammar."""

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training.captioner.grammar import CaptionParseError, caption, parse
from training.captioner.objects import SHAPES
from training.captioner.pictures import make_pictures, picture, shrink
from training.captioner.render import render
from training.captioner.scene import ALLOWED, ATTRIBUTES, INDOORS, KINDS, SETTINGS, Scene, SceneError, sample_scene

PLAIN = Scene("horse", "red", 1, "left", None, "meadow", "day", "poster", "clean", "colour", None)


def changed(scene: Scene, **values: object) -> Scene:
    return Scene(**({name: getattr(scene, name) for name in ATTRIBUTES} | values))  # type: ignore[arg-type]


@given(st.integers(min_value=0, max_value=2**60))
@settings(max_examples=300, deadline=None)
def test_a_caption_is_read_back_into_its_scene(seed: int) -> None:
    scene = sample_scene(random.Random(seed))
    assert parse(caption(scene)) == scene


def test_every_value_of_every_attribute_has_a_caption_of_its_own() -> None:
    checked = 0
    for name, values in ALLOWED.items():
        texts = set()
        for value in values:
            base = (
                changed(PLAIN, setting="room", time=None)
                if value in INDOORS or (name, value) == ("time", None)
                else PLAIN
            )
            base = changed(base, kind="cat") if (name, value) == ("second", "horse") else base
            base = changed(base, colour="grey") if name == "tone" else base
            scene = changed(base, **{name: value})
            assert parse(caption(scene)) == scene
            texts.add(caption(scene))
            checked += 1
        assert len(texts) == len(values), name
    assert checked == sum(map(len, ALLOWED.values()))


def test_the_grammar_reads_naturally() -> None:
    scene = Scene("heart", "grey", 2, "left", "sword", "forest", "night", "woodcut", "grainy", "sepia", "love")
    assert caption(scene) == (
        "a grainy sepia woodcut of two grey hearts on the left with a sword in a forest at night titled love"
    )
    assert " of an orange anchor " in caption(changed(PLAIN, kind="anchor", colour="orange"))


@pytest.mark.parametrize("text", ["", "a red horse", caption(PLAIN) + " ", caption(PLAIN).replace("red", "mauve")])
def test_a_text_outside_the_grammar_is_refused(text: str) -> None:
    with pytest.raises(CaptionParseError, match="grammar"):
        parse(text)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"kind": "cow"}, "kind='cow'"),
        ({"setting": "room"}, "time='day'"),
        ({"time": None}, "time=None"),
        ({"tone": "sepia"}, "colour='red'"),
        ({"second": "horse"}, "second='horse'"),
        ({"second": "cat", "count": 4, "place": "centre"}, "no room"),
    ],
)
def test_a_scene_that_no_picture_shows_is_refused(values: dict[str, object], message: str) -> None:
    with pytest.raises(SceneError, match=message):
        changed(PLAIN, **values)


def test_the_same_scene_and_seed_give_the_same_pixels() -> None:
    for seed in range(6):
        scene = sample_scene(random.Random(seed))
        assert np.array_equal(render(scene, seed, 96), render(scene, seed, 96))


def test_a_seed_moves_what_captions_do_not_name() -> None:
    assert not np.array_equal(render(PLAIN, 1, 96), render(PLAIN, 2, 96))


def test_every_attribute_changes_the_picture() -> None:
    other = {
        "kind": "cat", "colour": "blue", "count": 3, "place": "right", "second": "sword", "setting": "city",
        "time": "night",
        "style": "drawing", "texture": "dotted", "tone": "sepia", "word": "love",
    }  # fmt: skip
    base = changed(PLAIN, colour="grey")
    for name in ATTRIBUTES:
        tone = {"colour": "blue"} if name == "colour" else {name: other[name]}
        assert not np.array_equal(render(base, 5, 96), render(changed(base, **tone), 5, 96)), name


def test_size_changes_only_the_resolution() -> None:
    small, large = shrink(render(PLAIN, 3, 96)).astype(int), shrink(render(PLAIN, 3, 256)).astype(int)
    assert np.abs(small - large).mean() < 6


def test_every_kind_has_a_shape_inside_its_square() -> None:
    assert set(SHAPES) == set(KINDS)
    assert len(KINDS) >= 40
    assert len(SETTINGS) >= 12
    for shape in SHAPES.values():
        assert all(abs(x) <= 1.12 and abs(y) <= 1.12 for part in shape for x, y in part.points)


def test_pictures_do_not_depend_on_the_number_of_workers() -> None:
    alone, together = make_pictures(7, 5, workers=1), make_pictures(7, 5, workers=2)
    assert np.array_equal(alone.pixels, together.pixels)
    assert alone.scenes == together.scenes


def test_seeds_share_no_picture() -> None:
    assert picture(1 << 40)[0] != picture(2 << 40)[0]
    first, second = make_pictures(1, 20, 1), make_pictures(2, 20, 1)
    assert not any(np.array_equal(a, b) for a in first.pixels for b in second.pixels)
