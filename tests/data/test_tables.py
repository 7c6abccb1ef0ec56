import re
from pathlib import Path

import fsspec
import pandas as pd
import pytest

from training.data import synthetic, tables
from training.data.dataset import Dataset
from training.data.errors import DataError, DatasetError

README = Path(__file__).parents[2] / "training" / "data" / "README.md"


def fill(folder: Path, **changes: pd.DataFrame) -> Path:
    """A small valid data set, some of its tables replaced."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "images").mkdir(exist_ok=True)
    (folder / "images" / "a.png").write_bytes(b"any bytes will do")
    frames = {
        "interactions": pd.DataFrame(
            {"user_id": [1, 1, 2], "item_id": ["a", "b", "a"], "label": [1, 0, 0], "timestamp": [100, 200, 300]}
        ),
        "items": pd.DataFrame(
            {"item_id": ["a", "b"], "image": ["images/a.png", None], "price": [1.0, None], "new": [True, None]}
        ),
        "users": pd.DataFrame({"user_id": [1, 2], "age": pd.array([30, None], dtype="Int64")}),
    }
    for name, frame in (frames | changes).items():
        frame.to_parquet(folder / f"{name}.parquet", index=False)
    return folder


def test_the_example_of_the_readme_reads(tmp_path: Path) -> None:
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    example = next(block for block in blocks if "tables.read" in block)
    names: dict[str, object] = {"base": tmp_path}
    exec(example, names)
    dataset = names["dataset"]
    assert isinstance(dataset, Dataset)
    assert dataset.items["image"].tolist() == [str(tmp_path / "shop" / "images" / "lamp.png"), None]
    assert dataset.interactions["device"].tolist() == ["phone", "phone", "desktop"]


def test_the_faults_of_the_readme_are_those_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    late = [1_700_000_000_000, 1_700_000_060_000, 1_700_000_300_000]
    interactions = pd.DataFrame({"user_id": [1, 1, 2], "item_id": ["lamp"] * 3, "label": [1, 0, 0], "timestamp": late})
    items = pd.DataFrame({"item_id": ["lamp"], "image": ["../lamp.png"]})
    fill(Path("shop"), interactions=interactions, items=items, users=pd.DataFrame({"city": ["Turin"]}))
    with pytest.raises(DatasetError) as caught:
        tables.read("shop")
    shown = README.read_text(encoding="utf-8").split("```\nshop: 3 faults found\n")[1].split("```")[0]
    assert sorted(str(caught.value).splitlines()[1:]) == sorted(shown.splitlines())


def test_types_are_brought_to_one_form(tmp_path: Path) -> None:
    dataset = tables.read(fill(tmp_path / "d"))
    assert dataset.interactions["user_id"].tolist() == ["1", "1", "2"]
    assert dataset.interactions.dtypes.astype(str).to_dict() == {
        "user_id": "object",
        "item_id": "object",
        "label": "float32",
        "timestamp": "int64",
    }
    assert dataset.users["age"].tolist()[0] == 30.0
    assert dataset.users["age"].isna().tolist() == [False, True]
    assert dataset.items["new"].isna().tolist() == [False, True]


def test_categories_read_as_their_values(tmp_path: Path) -> None:
    users = pd.DataFrame(
        {"user_id": pd.Series(["1", "2"], dtype="category"), "city": pd.Series(["x", None], dtype="category")}
    )
    plain = users.astype(object)
    one = tables.read(fill(tmp_path / "one", users=users))
    other = tables.read(fill(tmp_path / "other", users=plain))
    assert one.digest == other.digest
    assert one.users["city"].tolist() == ["x", None]


def test_a_rating_gives_the_label_when_there_is_none(tmp_path: Path) -> None:
    interactions = pd.DataFrame(
        {"user_id": [1, 1, 2], "item_id": ["a", "b", "a"], "rating": [4.0, 3.5, 5.0], "timestamp": [1, 2, 3]}
    )
    folder = fill(tmp_path / "d", interactions=interactions)
    assert tables.read(folder).interactions["label"].tolist() == [1.0, 0.0, 1.0]
    assert tables.read(folder, positive_rating=5).interactions["label"].tolist() == [0.0, 0.0, 1.0]


def test_ratings_that_all_give_one_label_are_refused(tmp_path: Path) -> None:
    interactions = pd.DataFrame(
        {"user_id": [1, 1, 2], "item_id": ["a", "b", "a"], "rating": [1, 2, 3], "timestamp": [1, 2, 3]}
    )
    folder = fill(tmp_path / "d", interactions=interactions)
    with pytest.raises(
        DatasetError, match=r"interactions\.rating: found no rating of 4 or more; expected ratings on both sides"
    ):
        tables.read(folder)


def test_a_folder_that_is_moved_keeps_its_digest_and_finds_its_images(tmp_path: Path) -> None:
    before = tables.read(fill(tmp_path / "here"))
    (tmp_path / "here").rename(tmp_path / "there")
    after = tables.read(tmp_path / "there")
    assert after.digest == before.digest
    assert after.items["image"].tolist() == [str(tmp_path / "there" / "images" / "a.png"), None]


def test_a_uri_is_read_like_a_folder(tmp_path: Path) -> None:
    fill(tmp_path / "d")
    memory = fsspec.filesystem("memory")
    memory.put(str(tmp_path / "d"), "/bucket/d", recursive=True)
    try:
        dataset = tables.read("memory://bucket/d")
        assert dataset.digest == tables.read(tmp_path / "d").digest
        assert dataset.items["image"].tolist() == ["memory:///bucket/d/images/a.png", None]
        with fsspec.open(dataset.items["image"][0]) as file:
            assert file.read() == b"any bytes will do"
        memory.rm("/bucket/d/images/a.png")
        assert tables.read("memory://bucket/d").items["image"][0] == "memory:///bucket/d/images/a.png", (
            "who reads it says"
        )
    finally:
        memory.rm("/bucket", recursive=True)


def test_what_is_written_reads_as_the_same_data(tmp_path: Path) -> None:
    dataset = tables.read(fill(tmp_path / "d"))
    written = tables.write(dataset, tmp_path / "copy")
    assert (written / "images" / "a.png").read_bytes() == b"any bytes will do"
    assert tables.read(written).digest == dataset.digest
    assert tables.read(written).items["image"][0] == str(written / "images" / "a.png")


def test_synthetic_data_can_be_written_and_read(tmp_path: Path) -> None:
    made = synthetic.generate(1, users=30, items=20, interactions=400, lift=0.0)
    assert tables.read(tables.write(made.dataset, tmp_path / "made")).digest == made.dataset.digest


def test_writing_overwrites_nothing_and_leaves_nothing_half_written(tmp_path: Path) -> None:
    dataset = tables.read(fill(tmp_path / "d"))
    with pytest.raises(FileExistsError):
        tables.write(dataset, tmp_path / "d")
    (tmp_path / "d" / "images" / "a.png").unlink()
    with pytest.raises(DataError, match=r"item 'a' has its image at .*; expected a file there"):
        tables.write(dataset, tmp_path / "copy")
    assert [path.name for path in tmp_path.iterdir()] == ["d"]
