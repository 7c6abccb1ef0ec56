from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image

from training.data import poster_files
from training.data.errors import PosterError


class Painter:
    """Paints a plain square whose colour says what was asked for, and remembers the films."""

    def __init__(self, tint: int = 0) -> None:
        self.tint = tint
        self.films: list[str] = []

    def __call__(self, genres: Sequence[str], year: int | None, title: str, size: int) -> Image.Image:
        if not title.startswith("Probe"):
            self.films.append(title)
        return Image.new("RGB", (size, size), (len(genres), (year or 0) % 256, self.tint))


def films(*rows: tuple[str, str, int | None, tuple[str, ...]]) -> pd.DataFrame:
    listed = rows or (
        ("1", "One", 1990, ("Drama",)),
        ("2", "Two", None, ("War", "Drama")),
        ("3", "Three", 1955, ("Western",)),
    )
    return pd.DataFrame(list(listed), columns=["item_id", "title", "year", "genres"], dtype=object)


def test_every_film_gets_a_file_named_by_its_id(tmp_path: Path) -> None:
    painter = Painter()
    seen: list[tuple[int, int]] = []
    made = poster_files.render_posters(
        films(), tmp_path, size=8, render=painter, progress=lambda *done: seen.append(done)
    )
    assert {item: path.name for item, path in made.items()} == {"1": "1.png", "2": "2.png", "3": "3.png"}
    assert seen == [(1, 3), (2, 3), (3, 3)]
    with Image.open(made["2"]) as image:
        assert (image.format, image.size, image.getpixel((0, 0))) == ("PNG", (8, 8), (2, 0, 0))


def test_intact_posters_are_kept_and_only_the_rest_rendered(tmp_path: Path) -> None:
    made = poster_files.render_posters(films(), tmp_path, size=8, render=Painter())
    made["1"].unlink()
    made["3"].write_bytes(made["3"].read_bytes()[:-4])
    painter = Painter()
    seen: list[tuple[int, int]] = []
    poster_files.render_posters(films(), tmp_path, size=8, render=painter, progress=lambda *done: seen.append(done))
    assert painter.films == ["One", "Three"]
    assert seen == [(1, 3), (2, 3), (3, 3)]
    quiet = Painter()
    poster_files.render_posters(films(), tmp_path, size=8, render=quiet)
    assert quiet.films == []


def test_a_film_that_changed_is_rendered_again(tmp_path: Path) -> None:
    poster_files.render_posters(films(), tmp_path, size=8, render=Painter())
    painter = Painter()
    changed = films(
        ("1", "One", 1990, ("Comedy",)), ("2", "Two", None, ("War", "Drama")), ("3", "Three", 1956, ("Western",))
    )
    poster_files.render_posters(changed, tmp_path, size=8, render=painter)
    assert painter.films == ["One", "Three"]


@pytest.mark.parametrize(("tint", "size"), [(1, 8), (0, 9)])
def test_another_renderer_or_size_renders_all_again(tmp_path: Path, tint: int, size: int) -> None:
    poster_files.render_posters(films(), tmp_path, size=8, render=Painter())
    painter = Painter(tint)
    made = poster_files.render_posters(films(), tmp_path, size=size, render=painter)
    assert len(painter.films) == 3
    with Image.open(made["1"]) as image:
        assert image.size == (size, size)


@pytest.mark.parametrize("content", [b"", b"{half", b"[]", b'{"format": 99}'])
def test_a_manifest_that_cannot_be_used_means_rendering_again(tmp_path: Path, content: bytes) -> None:
    poster_files.render_posters(films(), tmp_path, size=8, render=Painter())
    (tmp_path / poster_files.MANIFEST).write_bytes(content)
    painter = Painter()
    poster_files.render_posters(films(), tmp_path, size=8, render=painter)
    assert len(painter.films) == 3


def test_a_run_that_was_cut_off_goes_on_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(poster_files, "_SAVE_EVERY", 1)

    def stop(done: int, total: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        poster_files.render_posters(films(), tmp_path, size=8, render=Painter(), progress=stop)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["1.png", "2.png", poster_files.MANIFEST]
    painter = Painter()
    poster_files.render_posters(films(), tmp_path, size=8, render=painter)
    assert painter.films == ["Three"]


def test_a_film_that_cannot_be_rendered_is_named(tmp_path: Path) -> None:
    def broken(genres: Sequence[str], year: int | None, title: str, size: int) -> Image.Image:
        if title == "Two":
            raise ValueError("no such genre: War")
        return Image.new("RGB", (size, size))

    with pytest.raises(PosterError, match=r"film 2 \('Two'\) cannot be rendered: no such genre: War"):
        poster_files.render_posters(films(), tmp_path, size=8, render=broken)


def test_two_films_of_one_id_are_refused(tmp_path: Path) -> None:
    twice = films(("1", "One", 1990, ("Drama",)), ("1", "Uno", 1990, ("Drama",)))
    with pytest.raises(PosterError, match="'1' names two films"):
        poster_files.render_posters(twice, tmp_path, size=8, render=Painter())


def test_ids_cannot_leave_the_folder_or_collide() -> None:
    ids = ["../a", "a/b", "a%2Fb", "..", "a b", "ä", "CON.png", "1"]
    names = [poster_files.file_name(identity) for identity in ids]
    assert len(set(names)) == len(ids)
    assert all("/" not in name and not name.startswith(".") and name.endswith(".png") for name in names)


def test_the_projects_own_renderer_is_used_in_several_processes_with_the_same_result(tmp_path: Path) -> None:
    four = films(*((str(n), f"Film {n}", 1990 + n, ("Drama", "War")) for n in range(4)))
    alone = poster_files.render_posters(four, tmp_path / "alone", size=64)
    shared = poster_files.render_posters(four, tmp_path / "shared", size=64, workers=2)
    assert {item: path.read_bytes() for item, path in alone.items()} == {
        item: path.read_bytes() for item, path in shared.items()
    }
