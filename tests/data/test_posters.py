"""Posters rendered from a film's genres, decade and title seed."""

import itertools

import numpy as np
import pytest

from training.captioner.grammar import caption
from training.captioner.scene import Scene
from training.data.posters import DECADES, GENRES, PosterError, poster_scene, render_poster

TITLES = [f"Film {i}" for i in range(40)]
ML_GENRES = {
    "unknown", "Action", "Adventure", "Animation", "Children's", "Comedy", "Crime", "Documentary", "Drama", "Fantasy",
    "Film-Noir", "Horror", "Musical", "Mystery", "Romance", "Sci-Fi", "Thriller", "War", "Western",
}  # fmt: skip


def test_all_nineteen_genres_have_posters_of_their_own() -> None:
    assert set(GENRES) == ML_GENRES
    for genre in GENRES:
        kinds = {poster_scene([genre], 1995, title).kind for title in TITLES}
        assert kinds == set(GENRES[genre].kinds)


def test_pairs_of_genres_make_valid_scenes() -> None:
    made = [poster_scene(pair, 1980 + i % 20, f"{i}") for i, pair in enumerate(itertools.permutations(GENRES, 2))]
    assert len(made) == 19 * 18
    assert all(isinstance(scene, Scene) for scene in made)


def test_the_second_genre_gives_the_second_object() -> None:
    for title in TITLES:
        scene = poster_scene(["Comedy", "War"], 1995, title)
        assert scene.kind in GENRES["Comedy"].kinds
        assert scene.second in GENRES["War"].kinds


def test_the_decade_gives_tone_style_and_texture() -> None:
    for decade, press in DECADES.items():
        for title in TITLES[:10]:
            scene = poster_scene(["Drama"], decade + 4, title)
            assert (scene.tone in press.tones, scene.style in press.styles, scene.texture in press.textures) == (
                True,
            ) * 3
    assert poster_scene(["Drama"], 1922, "x").tone == "black-and-white"
    assert poster_scene(["Drama"], 2020, "x").tone == "colour"
    assert poster_scene(["unknown"], None, "x").tone == "sepia"
    assert poster_scene(["Film-Noir"], 1997, "x").tone == "black-and-white"


def test_the_title_only_seeds_choices() -> None:
    captions = {caption(poster_scene(["Western"], 1960, title)) for title in TITLES}
    assert len(captions) > 20
    assert not any("film" in text for text in captions)


def test_a_film_always_has_the_same_poster() -> None:
    first, again = (render_poster(["Horror", "Comedy"], 1986, "Same", size=128) for _ in range(2))
    other = render_poster(["Horror", "Comedy"], 1986, "Other", size=128)
    assert (first.size, first.mode) == ((128, 128), "RGB")
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


@pytest.mark.parametrize("genres", [[], ["Drama", "Soap"]])
def test_a_film_without_a_known_genre_is_refused(genres: list[str]) -> None:
    with pytest.raises(PosterError, match="'Odd': expected at least one of unknown, Action"):
        poster_scene(genres, 1990, "Odd")
