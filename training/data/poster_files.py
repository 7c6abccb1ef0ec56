"""Posters of all films as PNG files, rendered once and again only where something has changed."""

import hashlib
import io
import json
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pandas as pd

from models.files import write_atomic
from models.leash import end_with_parent
from training.data.errors import PosterError

if TYPE_CHECKING:
    from PIL import Image

MANIFEST = "posters.json"
SIZE = 256

_FORMAT = 1
_SAVE_EVERY = 25  # of what a killed run has drawn, so many are drawn again at most
# What the renderer is known by: the pixels of these films. A change that alters none of them is not noticed:
# delete the folder then.
_PROBES: tuple[tuple[str, int | None], ...] = (
    ("unknown", None),
    ("Action", 1995),
    ("Adventure", 1984),
    ("Animation", 1940),
    ("Children's", 1992),
    ("Comedy", 1959),
    ("Crime", 1974),
    ("Documentary", 1988),
    ("Drama", 1996),
    ("Fantasy", 1939),
    ("Film-Noir", 1946),
    ("Horror", 1968),
    ("Musical", 1952),
    ("Mystery", 1935),
    ("Romance", 1997),
    ("Sci-Fi", 1977),
    ("Thriller", 1981),
    ("War", 1962),
    ("Western", 1966),
)

Render = Callable[..., "Image.Image"]
Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Film:
    """What a poster is rendered from."""

    item_id: str
    title: str
    year: int | None
    genres: tuple[str, ...]

    @property
    def digest(self) -> str:
        """sha256 of title, year and genres."""
        return _sha256(json.dumps([self.title, self.year, list(self.genres)]).encode())


def render_posters(
    films: pd.DataFrame,
    out_dir: Path,
    *,
    size: int = SIZE,
    progress: Progress | None = None,
    workers: int = 1,
    render: Render | None = None,
) -> dict[str, Path]:
    """Make `out_dir` hold an intact poster of every film and return where each is.

    A file that the manifest knows with the same film, size and renderer, and whose sha256 is the manifest's,
    is kept. Each file is written whole or not at all; a run that was cut off goes on where it was.

    Args:
        films: item_id, title, year (int or None), genres (tuple of str), as `movielens.load` gives them.
        size: pixels of each side.
        progress: called with (films done, films in all) after each film.
        workers: processes that render while this one writes; 1 renders here. With more, a script needs the
            usual `if __name__ == "__main__"`, since they are spawned.
        render: (genres, year, title, size=) -> PIL image; `training.data.posters.render_poster` when not
            given.

    Raises:
        PosterError: a film cannot be rendered or two films have one id.
    """
    listed = _films(films)
    renderer = _Renderer(render, size)
    manifest = _Manifest.read(out_dir, renderer.digest(), size)
    todo = [film for film in listed if not manifest.has(film)]
    done = len(listed) - len(todo)
    if progress is not None and done:
        progress(done, len(listed))
    try:
        for number, (film, png) in enumerate(_rendered(renderer, todo, workers), start=1):
            manifest.put(film, png)
            if number % _SAVE_EVERY == 0:
                manifest.save()
            if progress is not None:
                progress(done + number, len(listed))
    finally:
        if todo:
            manifest.save()
    return {film.item_id: out_dir / file_name(film.item_id) for film in listed}


def file_name(item_id: str) -> str:
    """`<item id>.png`; characters that a file name cannot have everywhere are percent-encoded."""
    return f"{quote(item_id, safe='').replace('.', '%2E')}.png"


@dataclass(frozen=True)
class _Renderer:
    """Film to PNG bytes. Can be sent to another process as long as `render` can."""

    render: Render | None
    size: int

    def __call__(self, film: Film) -> bytes:
        try:
            image = self._render()(film.genres, film.year, film.title, size=self.size)
        except (ValueError, TypeError, LookupError) as error:
            where = f"the poster of film {film.item_id} ({film.title!r}) cannot be rendered"
            raise PosterError(f"{where}: {error}; correct its genres, year or title") from error
        out = io.BytesIO()
        image.save(out, format="PNG", compress_level=3)  # twice as fast as the default, 5 % larger
        return out.getvalue()

    def digest(self) -> str:
        """sha256 of the probes' pixels."""
        digest = hashlib.sha256()
        for genre, year in _PROBES:
            image = self._render()((genre,), year, f"Probe {genre}", size=self.size)
            digest.update(f"{image.mode}{image.size}".encode() + image.tobytes())
        return digest.hexdigest()

    def _render(self) -> Render:
        if self.render is not None:
            return self.render
        from training.data.posters import render_poster

        rendered: Render = render_poster
        return rendered


class _Manifest:
    """What the folder is known to hold; a missing or unreadable manifest knows nothing, so that all is
    rendered again.
    """

    def __init__(self, folder: Path, renderer: str, size: int, files: dict[str, dict[str, str]]) -> None:
        self._folder, self._renderer, self._size, self._files = folder, renderer, size, files

    @classmethod
    def read(cls, folder: Path, renderer: str, size: int) -> "_Manifest":
        found = _json(folder / MANIFEST)
        same = (found.get("format"), found.get("renderer"), found.get("size")) == (_FORMAT, renderer, size)
        files = found.get("files")
        return cls(folder, renderer, size, dict(files) if same and isinstance(files, dict) else {})

    def has(self, film: Film) -> bool:
        known = self._files.get(film.item_id)
        path = self._folder / file_name(film.item_id)
        if known is None or known.get("film") != film.digest or not path.is_file():
            return False
        return known.get("png") == _sha256(path.read_bytes())

    def put(self, film: Film, png: bytes) -> None:
        write_atomic(self._folder / file_name(film.item_id), png)
        self._files[film.item_id] = {"film": film.digest, "png": _sha256(png)}

    def save(self) -> None:
        document = {"format": _FORMAT, "renderer": self._renderer, "size": self._size, "files": self._files}
        write_atomic(self._folder / MANIFEST, json.dumps(document, indent=1, sort_keys=True).encode())


def _films(films: pd.DataFrame) -> list[Film]:
    rows = zip(films["item_id"], films["title"], films["year"], films["genres"], strict=True)
    listed = [
        Film(str(item), str(title), None if pd.isna(year) else int(year), tuple(genres))
        for item, title, year, genres in rows
    ]
    seen: set[str] = set()
    for film in listed:
        if film.item_id in seen:
            raise PosterError(f"item_id {film.item_id!r} names two films; expected each id once: drop one of the rows")
        seen.add(film.item_id)
    return listed


def _rendered(renderer: _Renderer, films: Sequence[Film], workers: int) -> Iterator[tuple[Film, bytes]]:
    if workers <= 1 or len(films) < 2 * workers:
        yield from ((film, renderer(film)) for film in films)
        return
    with ProcessPoolExecutor(workers, get_context("spawn"), initializer=_put_on_leash) as pool:
        yield from zip(films, pool.map(renderer, films, chunksize=16), strict=True)


def _put_on_leash() -> None:
    """A drawing process ends with the one that it draws for, and leaves Ctrl-C to it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    end_with_parent(signal.SIGKILL)


def _json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_bytes())
    except (FileNotFoundError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
