"""MovieLens-100K: real people, films, ratings and times, fetched with pip and never kept in the repository.

The files travel inside a package on the Python package index (the recommender library RecBole, which is not
installed or imported): pip downloads it from whatever index this machine's pip is set up for. F. Maxwell
Harper and Joseph A. Konstan, "The MovieLens Datasets: History and Context", ACM TiiS 5(4), 2015,
https://doi.org/10.1145/2827872.
"""

import hashlib
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from models.files import temporary_prefix, write_atomic
from models.leash import leashed
from training.data.dataset import Dataset
from training.data.errors import FetchError

REQUIREMENT = "recbole==1.2.1"
WHEEL = "recbole-1.2.1-py3-none-any.whl"
WHEEL_SHA256 = "9c9948202011f37eb0a7c6768129313f00d6403ad221ec940d5e2d5d5f33a407"
FILES = {
    "ml-100k.inter": "4edb74e2a81178c2ba9ff381495f754f996c4aea351b1272ca36b43da0935eff",
    "ml-100k.item": "51d7cdf777ce5c0f5b32c1d947a4a81fe07d75e78abbe761e0cd4d0756064532",
    "ml-100k.user": "4f670007d9cfbeb9807e757209af1555b9bcc186bde25e767f67cb67c6dd5972",
}
LICENCE = (
    "MovieLens-100K (GroupLens Research, University of Minnesota): for research use; no redistribution and no "
    "commercial use without permission of GroupLens. It is fetched into a git-ignored folder and is never part of "
    "this repository. Cite: Harper and Konstan, ACM TiiS 5(4), 2015."
)
POSITIVE_RATING = 4
UNKNOWN_TITLE = "unknown"

_FOLDER = "movielens-100k"
_INSIDE = "recbole/dataset_example/ml-100k/"
_TIMEOUT_SECONDS = 300.0
_YEAR = re.compile(r"\d{4}")
_TITLE_YEAR = re.compile(r"^(?P<title>.*\S)\s*\((?P<year>\d{4})\)$")
_UNKNOWN_SPELLINGS = frozenset({"unknown", "unkonwn"})


@dataclass(frozen=True)
class MovieLens:
    """The data set, and what posters are rendered from.

    Attributes:
        dataset: label = 1 where rating >= 4; users have gender, occupation and age; items have nothing but
            their id.
        films: item_id str, title str, year (int or None), genres (tuple of str). Kept apart from
            `dataset.items`, because genres and year are not
            features of the ranker: they reach it through a poster's pixels only. Some films are listed under
                two ids, as GroupLens has them.
    """

    dataset: Dataset
    films: pd.DataFrame

    def words(self) -> dict[str, list[str]]:
        """What each film's poster is drawn from, apart from its title's seed: genres and decade, by item id."""
        rows = zip(self.films["item_id"], self.films["genres"], self.films["year"], strict=True)
        return {str(item): [*genres, *([] if year is None else [f"{year // 10 * 10}s"])] for item, genres, year in rows}


def load(data_dir: Path, say: Callable[[str], None] | None = None) -> MovieLens:
    """Fetch if needed, then read.

    Args:
        data_dir: the folder that holds fetched data (git-ignored).
        say: receives the licence statement and progress, a line at a time; standard error when not given.

    Raises:
        FetchError: the data are neither here nor to be had.
    """
    folder = fetch(data_dir, say)
    films = _films(_table(folder / "ml-100k.item"))
    items = pd.DataFrame({"item_id": films["item_id"]})
    return MovieLens(
        Dataset.of(_interactions(_table(folder / "ml-100k.inter")), items, _users(_table(folder / "ml-100k.user"))),
        films,
    )


def fetch(data_dir: Path, say: Callable[[str], None] | None = None) -> Path:
    """Make the three MovieLens files present and intact in `data_dir`/movielens-100k and return that folder.

    Intact files are used as they are, without any network. Damaged or missing ones are taken from the wheel
    `data_dir`/WHEEL if that is intact, which is also the way to provide the data on a machine without
    network; else pip downloads it. Everything is checked by sha256 before it takes its place.

    Raises:
        FetchError: pip failed or the content is not the expected one.
    """
    say = say or _to_stderr
    folder = data_dir / _FOLDER
    if all(_sha256(folder / name) == expected for name, expected in FILES.items()):
        return folder
    say(LICENCE)
    wheel = data_dir / WHEEL
    if _sha256(wheel) != WHEEL_SHA256:
        say(f"Downloading {REQUIREMENT} with pip for the MovieLens files in it (2 MB)")
        _download(wheel)
    for name, content in _extract(wheel).items():
        write_atomic(folder / name, content)
    return folder


def _download(wheel: Path) -> None:
    wheel.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=wheel.parent, prefix=temporary_prefix("download")))
    try:
        _pip_download(temporary, wheel)
        downloaded = temporary / WHEEL
        actual = _sha256(downloaded)
        if actual != WHEEL_SHA256:
            raise FetchError(
                f"pip's {WHEEL} has sha256 {actual or 'none (no such file)'}, expected {WHEEL_SHA256}: "
                f"the index holds another file than the one known to this project; "
                f"get the right one and put it at {wheel}"
            )
        write_atomic(wheel, downloaded.read_bytes())
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _pip_download(into: Path, wheel: Path) -> None:
    command = leashed(
        sys.executable,
        "-m",
        "pip",
        "download",
        "--no-deps",
        "--only-binary=:all:",
        "--disable-pip-version-check",
        "--no-input",
    )
    advice = (
        f"Connect to the network (or set pip's index and proxy), or put the file {WHEEL} "
        f"(sha256 {WHEEL_SHA256}) at {wheel}"
    )
    found = f"; the file at {wheel} was there but has another sha256, {_sha256(wheel)}" if wheel.exists() else ""
    try:
        done = subprocess.run(
            [*command, "--dest", str(into), REQUIREMENT],
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise FetchError(
            f"pip download {REQUIREMENT} took longer than {_TIMEOUT_SECONDS:.0f} s{found}. {advice}"
        ) from error
    if done.returncode != 0:
        last = [line for line in (done.stderr or done.stdout).strip().splitlines() if line][-3:]
        raise FetchError(
            f"pip download {REQUIREMENT} failed with exit code {done.returncode}: {' | '.join(last)}{found}. {advice}"
        )


def _extract(wheel: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(wheel) as archive:
        contents = {name: archive.read(_INSIDE + name) for name in FILES}
    for name, content in contents.items():
        actual = hashlib.sha256(content).hexdigest()
        if actual != FILES[name]:
            raise FetchError(
                f"{name} in {wheel} has sha256 {actual}, expected {FILES[name]}: delete {wheel} and fetch again"
            )
    return contents


def _table(path: Path) -> list[list[str]]:
    """The rows of a tab-separated file below its header line; fields are never quoted."""
    lines = path.read_text(encoding="utf-8").split("\n")[1:]
    return [line.split("\t") for line in lines if line]


def _interactions(rows: list[list[str]]) -> pd.DataFrame:
    ratings = [float(row[2]) for row in rows]
    return pd.DataFrame(
        {
            "user_id": [row[0] for row in rows],
            "item_id": [row[1] for row in rows],
            "label": [float(rating >= POSITIVE_RATING) for rating in ratings],
            "timestamp": [int(row[3]) for row in rows],
            "rating": pd.Series(ratings, dtype="float32"),
        }
    )


def _users(rows: list[list[str]]) -> pd.DataFrame:
    """Without the zip codes: they are nearly an identity and no use to a ranker of 943 people."""
    return pd.DataFrame(
        {
            "user_id": [row[0] for row in rows],
            "gender": [row[2] for row in rows],
            "occupation": [row[3] for row in rows],
            "age": pd.Series([int(row[1]) for row in rows], dtype="int64"),
        }
    )


def _films(rows: list[list[str]]) -> pd.DataFrame:
    named = [parse_title(row[1], row[2]) for row in rows]
    return pd.DataFrame(
        {
            "item_id": [row[0] for row in rows],
            "title": [title for title, _ in named],
            "year": pd.Series([year for _, year in named], dtype=object),
            "genres": pd.Series([tuple(row[3].split()) for row in rows], dtype=object),
        }
    )


def parse_title(title: str, year: str) -> tuple[str, int | None]:
    """A film's title and year from the two fields of the file.

    The file splits GroupLens's "Title (1995)" at its last parenthesis, which goes wrong for the one film that
    ends in "(1995) (V)" (a video release): there the year is still in the title. The one film without a name
    is spelt "unkonwn".
    """
    title = title.strip()
    if title.casefold() in _UNKNOWN_SPELLINGS:
        return UNKNOWN_TITLE, None
    if _YEAR.fullmatch(year.strip()):
        return title, int(year)
    inside = _TITLE_YEAR.match(title)
    return (inside["title"], int(inside["year"])) if inside else (title, None)


def _sha256(path: Path) -> str | None:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except FileNotFoundError:
        return None


def _to_stderr(line: str) -> None:
    sys.stderr.write(f"{line}\n")
