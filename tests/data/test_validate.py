from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from training.data import tables
from training.data.errors import DatasetError, Fault

NOW = 1_750_000_000

Tables = dict[str, pa.Table]


def good() -> dict[str, pd.DataFrame]:
    return {
        "interactions": pd.DataFrame(
            {
                "user_id": ["u", "u", "v", "v"],
                "item_id": ["a", "b", "a", "b"],
                "label": [1, 0, 0, 1],
                "timestamp": [1_700_000_000, 1_700_000_001, 1_700_000_002, NOW],
                "device": ["tv", "tv", None, "phone"],
            }
        ),
        "items": pd.DataFrame(
            {"item_id": ["a", "b"], "image": ["images/a.png", "https://example.com/b.png"], "price": [1.0, 2.0]}
        ),
        "users": pd.DataFrame({"user_id": ["u", "v"], "city": ["x", None]}),
    }


def written(folder: Path, frames: dict[str, pd.DataFrame] | Tables) -> Path:
    (folder / "images").mkdir(parents=True)
    (folder / "images" / "a.png").write_bytes(b"x")
    for name, frame in frames.items():
        table = frame if isinstance(frame, pa.Table) else pa.Table.from_pandas(frame, preserve_index=False)
        pq.write_table(table, folder / f"{name}.parquet")
        if name == "interactions" and "device" in table.column_names:
            (folder / "columns.yaml").write_text("interactions: {device: context}\n")
    return folder


def faults(folder: Path) -> tuple[Fault, ...]:
    with pytest.raises(DatasetError) as caught:
        tables.read(folder, clock=lambda: float(NOW))
    return caught.value.faults


def test_the_good_tables_are_good(tmp_path: Path) -> None:
    dataset = tables.read(written(tmp_path / "d", good()), clock=lambda: float(NOW))
    assert dataset.items["image"].tolist()[1] == "https://example.com/b.png"


@pytest.mark.parametrize("image", ["images/z.png", "images"], ids=["not there", "a folder"])
def test_a_lost_picture_does_not_stop_the_tables_who_captions_it_says_so(tmp_path: Path, image: str) -> None:
    frames = good()
    put("items", "image", 0, image)(frames)
    folder = written(tmp_path / "d", frames)
    dataset = tables.read(folder, clock=lambda: float(NOW))
    assert dataset.items["image"][0] == str(folder / image)


def put(table: str, column: str, row: int, value: object) -> Callable[[dict[str, pd.DataFrame]], None]:
    def change(frames: dict[str, pd.DataFrame]) -> None:
        frames[table][column] = frames[table][column].astype(object)
        frames[table].loc[row, column] = value
        if all(isinstance(each, int | float) for each in frames[table][column]):
            frames[table][column] = frames[table][column].infer_objects()

    return change


def drop(table: str, column: str) -> Callable[[dict[str, pd.DataFrame]], None]:
    return lambda frames: frames.update({table: frames[table].drop(columns=column)})


def add(table: str, column: str, values: list[object]) -> Callable[[dict[str, pd.DataFrame]], None]:
    return lambda frames: frames.update({table: frames[table].assign(**{column: values})})


MISTAKES = [
    (
        "a missing column",
        drop("interactions", "timestamp"),
        "interactions",
        "timestamp",
        "columns user_id",
        "a column timestamp",
    ),
    (
        "no label",
        drop("interactions", "label"),
        "interactions",
        "label",
        "columns user_id",
        "a column label (or a column rating)",
    ),
    ("no image", drop("items", "image"), "items", "image", "columns item_id", "a column image"),
    ("a float id", add("users", "user_id", [1.5, 2.5]), "users", "user_id", "1.5", "a string or a whole number"),
    ("a text label", add("interactions", "label", list("1001")), "interactions", "label", "type string", "0 or 1"),
    (
        "a moment type",
        add("interactions", "timestamp", list(pd.to_datetime([1, 2, 3, 4], unit="s"))),
        "interactions",
        "timestamp",
        "type timestamp",
        "seconds since 1970",
    ),
    (
        "a list feature",
        add("items", "tags", [["x"], ["y"]]),
        "items",
        "tags",
        "type list",
        "a string, number or boolean",
    ),
    ("a null id", put("interactions", "user_id", 2, None), "interactions", "user_id", "null", "an id"),
    ("an empty id", put("interactions", "item_id", 1, " "), "interactions", "item_id", "' '", "not empty"),
    ("a null label", put("interactions", "label", 1, None), "interactions", "label", "null", "0 or 1"),
    ("a label of 2", put("interactions", "label", 3, 2), "interactions", "label", "2", "0 or 1"),
    (
        "one class",
        add("interactions", "label", [1, 1, 1, 1]),
        "interactions",
        "label",
        "1 in every row",
        "both 0 and 1",
    ),
    (
        "a null moment",
        put("interactions", "timestamp", 0, None),
        "interactions",
        "timestamp",
        "null",
        "seconds since 1970",
    ),
    ("a negative moment", put("interactions", "timestamp", 1, -5), "interactions", "timestamp", "-5", "0 or more"),
    (
        "the future",
        put("interactions", "timestamp", 1, NOW + 1),
        "interactions",
        "timestamp",
        str(NOW + 1),
        f"at most now, {NOW}",
    ),
    (
        "milliseconds",
        put("interactions", "timestamp", 1, 1_700_000_000_000),
        "interactions",
        "timestamp",
        "1700000000000",
        "seconds",
    ),
    (
        "microseconds",
        put("interactions", "timestamp", 1, 17 * 10**14),
        "interactions",
        "timestamp",
        "1700000000000000",
        "seconds",
    ),
    (
        "nanoseconds",
        put("interactions", "timestamp", 1, 17 * 10**17),
        "interactions",
        "timestamp",
        "1700000000000000000",
        "seconds",
    ),
    ("an unknown user", put("interactions", "user_id", 2, "w"), "interactions", "user_id", "'w'", "of users.parquet"),
    ("an unknown item", put("interactions", "item_id", 2, "c"), "interactions", "item_id", "'c'", "of items.parquet"),
    ("an item twice", put("items", "item_id", 1, "a"), "items", "item_id", "'a'", "each id once"),
    ("an image above", put("items", "image", 0, "../a.png"), "items", "image", "'../a.png'", "stays within the folder"),
    (
        "an image from the root",
        put("items", "image", 0, "/etc/passwd"),
        "items",
        "image",
        "'/etc/passwd'",
        "stays within",
    ),
    ("an image by backslash", put("items", "image", 0, "images\\a.png"), "items", "image", "'images", "stays within"),
    ("an image with a zero byte", put("items", "image", 0, "a\x00"), "items", "image", "'a\\x00'", "stays within"),
    (
        "an image by ftp",
        put("items", "image", 1, "ftp://x/b.png"),
        "items",
        "image",
        "'ftp://x/b.png'",
        "https://, http://",
    ),
    (
        "an image by file",
        put("items", "image", 1, "file:///etc/passwd"),
        "items",
        "image",
        "'file:///etc/passwd'",
        "https://",
    ),
    ("an infinite price", put("items", "price", 1, float("inf")), "items", "price", "inf", "a finite number"),
    ("a long text", put("users", "city", 0, "x" * 1025), "users", "city", "'xxx", "at most 1024 characters"),
    (
        "a reserved feature",
        add("items", "popularity", [1, 2]),
        "items",
        "popularity",
        "a feature named popularity",
        "a meaning",
    ),
    ("a rating of an item", add("items", "rating", [1, 2]), "items", "rating", "a feature named rating", "a meaning"),
    (
        "a name with a space",
        add("items", "list price", [1, 2]),
        "items",
        "list price",
        "a feature named 'list price'",
        "a feature",
    ),
    (
        "a shared name",
        add("users", "price", [1, 2]),
        "users",
        "price",
        "a column that items has too",
        "a name of its own",
    ),
]


@pytest.mark.parametrize(
    ("change", "table", "column", "value", "expected"), [row[1:] for row in MISTAKES], ids=[row[0] for row in MISTAKES]
)
def test_one_mistake_gives_one_fault(
    tmp_path: Path,
    change: Callable[[dict[str, pd.DataFrame]], None],
    table: str,
    column: str,
    value: str,
    expected: str,
) -> None:
    frames = good()
    change(frames)
    found = [
        fault for fault in faults(written(tmp_path / "d", frames)) if (fault.table, fault.column) == (table, column)
    ]
    assert len(found) == 1, found
    assert found[0].value.startswith(value)
    assert expected in found[0].expected
    assert found[0].fix
    assert str(found[0]).startswith(f"{table}.{column}")


def test_all_mistakes_are_reported_together(tmp_path: Path) -> None:
    frames = good()
    chosen = [
        "a null id",
        "a label of 2",
        "milliseconds",
        "an item twice",
        "an image above",
        "a long text",
        "a name with a space",
    ]
    for name, change, *_ in MISTAKES:
        if name in chosen:
            change(frames)
    found = {(fault.table, fault.column) for fault in faults(written(tmp_path / "d", frames))}
    assert found >= {row[2:4] for row in MISTAKES if row[0] in chosen}


def test_a_fault_names_the_first_rows_and_the_count(tmp_path: Path) -> None:
    frames = good()
    frames["interactions"] = pd.DataFrame(
        {"user_id": "u", "item_id": "a", "label": [0, 1] * 10 + [7] * 9, "timestamp": range(29)}
    )
    found = faults(written(tmp_path / "d", frames))
    assert [(fault.row, fault.count, fault.examples) for fault in found] == [(20, 9, (20, 21, 22, 23, 24))]
    assert "interactions.label (row 20, 21, 22, 23, 24, …; 9 in all): found 7; expected 0 or 1." in str(found[0])


def test_a_nan_is_a_fault_and_a_null_is_not(tmp_path: Path) -> None:
    frames: dict[str, pa.Table] = {
        name: pa.Table.from_pandas(frame, preserve_index=False) for name, frame in good().items()
    }
    place = frames["items"].column_names.index("price")
    frames["items"] = frames["items"].set_column(place, "price", pa.array([None, float("nan")], from_pandas=False))
    found = faults(written(tmp_path / "d", frames))
    assert [(fault.table, fault.column, fault.row, fault.value) for fault in found] == [("items", "price", 1, "nan")]


def test_a_repeated_interaction_is_a_fault(tmp_path: Path) -> None:
    frames = good()
    frames["interactions"] = pd.concat([frames["interactions"], frames["interactions"].iloc[[1]]], ignore_index=True)
    found = faults(written(tmp_path / "d", frames))
    assert [(fault.column, fault.row) for fault in found] == [("user_id, item_id, timestamp", 4)]


def test_a_link_out_of_the_folder_is_followed_and_refused(tmp_path: Path) -> None:
    folder = written(tmp_path / "d", good())
    (tmp_path / "secret.png").write_bytes(b"x")
    (folder / "images" / "a.png").unlink()
    (folder / "images" / "a.png").symlink_to(tmp_path / "secret.png")
    assert [fault.expected for fault in faults(folder)] == ["a relative path that stays within the folder"]


def test_a_picture_may_stand_in_the_table_as_a_data_url(tmp_path: Path) -> None:
    frames = good()
    put("items", "image", 1, "data:image/png;base64,aGVsbG8//A==")(frames)
    dataset = tables.read(written(tmp_path / "d", frames), clock=lambda: float(NOW))
    assert dataset.items["image"][1] == "data:image/png;base64,aGVsbG8//A=="


def test_other_url_schemes_can_be_allowed(tmp_path: Path) -> None:
    frames = good()
    put("items", "image", 1, "s3://bucket/b.png")(frames)
    folder = written(tmp_path / "d", frames)
    dataset = tables.read(folder, url_schemes=("s3",), clock=lambda: float(NOW))
    assert dataset.items["image"][1] == "s3://bucket/b.png"


@pytest.mark.parametrize("name", ["interactions", "items", "users"])
def test_a_missing_a_broken_and_an_empty_file_are_told_apart(tmp_path: Path, name: str) -> None:
    folder = written(tmp_path / "d", good())
    frame = good()[name]
    path = folder / f"{name}.parquet"
    path.unlink()
    assert faults(folder)[0].value == "no file"
    path.write_bytes(b"PAR1 but not quite")
    assert faults(folder)[0].expected == f"a Parquet file at {folder}/{name}.parquet"
    frame.iloc[:0].to_parquet(path)
    assert ("no rows", name) in {(fault.value, fault.table) for fault in faults(folder)}


def test_a_cut_off_file_is_a_fault(tmp_path: Path) -> None:
    folder = written(tmp_path / "d", good())
    path = folder / "items.parquet"
    path.write_bytes(path.read_bytes()[:-20])
    assert [fault.table for fault in faults(folder)] == ["items"]


def test_two_columns_of_one_name_are_a_fault(tmp_path: Path) -> None:
    frames: dict[str, pa.Table] = {
        name: pa.Table.from_pandas(frame, preserve_index=False) for name, frame in good().items()
    }
    frames["users"] = frames["users"].append_column("city", pa.array(["p", "q"]))
    found = faults(written(tmp_path / "d", frames))
    assert [(fault.column, fault.value) for fault in found] == [("city", "2 columns of that name")]


def test_no_folder_and_an_unknown_protocol_are_faults_too(tmp_path: Path) -> None:
    assert faults(tmp_path / "nowhere")[0].expected.startswith("a folder with interactions.parquet")
    with pytest.raises(DatasetError, match="a folder or a URI that fsspec can open"):
        tables.read("nosuch://bucket/folder")


def test_numbers_of_any_width_are_numbers(tmp_path: Path) -> None:
    frames = good()
    frames["items"]["price"] = np.array([1, 2], dtype=np.float32)
    frames["items"]["stock"] = np.array([1, 2], dtype=np.uint64)
    frames["users"]["age"] = np.array([1, 2], dtype=np.int8)
    dataset = tables.read(written(tmp_path / "d", frames), clock=lambda: float(NOW))
    assert dataset.items["stock"].tolist() == [1, 2]
    assert dataset.users["age"].tolist() == [1, 2]
