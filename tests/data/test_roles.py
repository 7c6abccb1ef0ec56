"""What columns are for: nothing of a log of interactions becomes a feature by itself."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from training.data import features, splits, tables
from training.data.errors import DatasetError


def write(folder: Path, roles: str | None = None, **more: list[Any]) -> Path:
    """Twelve interactions with more columns, two items, two users."""
    folder.mkdir(exist_ok=True)
    base = {
        "user_id": ["u", "v"] * 6,
        "item_id": ["a", "b", "b", "a"] * 3,
        "label": [0, 1, 1] * 4,
        "timestamp": list(range(12)),
    }
    columns = {name: values for name, values in {**base, **more}.items() if values}
    pd.DataFrame(columns).to_parquet(folder / "interactions.parquet")
    pd.DataFrame({"item_id": ["a", "b"], "image": [None, None], "ctr": [0.1, 0.2]}).to_parquet(folder / "items.parquet")
    pd.DataFrame({"user_id": ["u", "v"], "city": ["x", "y"]}).to_parquet(folder / "users.parquet")
    if roles is not None:
        (folder / "columns.yaml").write_text(roles, "utf-8")
    return folder


def feature_names(folder: Path) -> set[str]:
    """What training would see of a data set, beside what every data set has."""
    dataset = tables.read(folder)
    split = splits.within_user_time(dataset)
    return set(features.columns_of(dataset, split, split.train)) - features.BUILT_IN


def refusal(folder: Path) -> str:
    with pytest.raises(DatasetError) as refused:
        tables.read(folder)
    return str(refused.value)


@pytest.mark.parametrize("name", ["dwell_seconds", "purchase", "weight", "device", "position", "Clicked", "label_2"])
def test_a_column_of_interactions_without_a_role_is_refused_with_the_line_to_write(tmp_path: Path, name: str) -> None:
    folder = write(tmp_path, **{name: list(range(12))})
    said = refusal(folder)
    assert f"interactions.{name}: found 1 column without a role; expected that roles are declared" in said
    line = said.split("beside the tables: ")[1]
    assert line == f"interactions: {{{name}: ignore}}"
    (folder / "columns.yaml").write_text(line)
    assert feature_names(folder) == {"ctr", "city"}


def test_all_such_columns_are_told_in_one_line_that_can_be_pasted(tmp_path: Path) -> None:
    folder = write(tmp_path, **{"dwell seconds": list(range(12)), "weight": [1.0] * 12, "größe": ["x"] * 12})
    line = refusal(folder).split("beside the tables: ")[1]
    (folder / "columns.yaml").write_text(line, "utf-8")
    assert feature_names(folder) == {"ctr", "city"}


def test_roles_give_columns_their_meaning_and_only_context_becomes_a_feature(tmp_path: Path) -> None:
    roles = """
    interactions: {customer: user_id, clicked: label, device: context, dwell_seconds: ignore, label: ignore}
    items: {ctr: ignore, item_id: item_id}
    """
    clicked = [True, False, False] * 4
    folder = write(
        tmp_path,
        roles,
        user_id=[],
        customer=["u", "v"] * 6,
        clicked=clicked,
        device=["phone"] * 12,
        dwell_seconds=[3.5] * 12,
    )
    assert feature_names(folder) == {"device", "city"}
    dataset = tables.read(folder)
    assert dataset.interactions["label"].tolist() == [float(each) for each in clicked]
    assert dataset.interactions["user_id"].tolist() == ["u", "v"] * 6


def test_another_role_is_another_data_set(tmp_path: Path) -> None:
    folder = write(tmp_path, "interactions: {device: ignore}", device=["phone"] * 12)
    first = tables.read(folder).digest
    (folder / "columns.yaml").write_text("interactions: {device: context}")
    assert tables.read(folder).digest != first


@pytest.mark.parametrize(
    ("roles", "says"),
    [
        (
            "interactions: {devise: ignore}",
            "columns.yaml.interactions.devise: found a role for it; expected a column of",
        ),
        (
            "interactions: {device: feature}",
            "found the role 'feature'; expected one of user_id, item_id, label, rating",
        ),
        (
            "interactions: {device: label}",
            "interactions.label: found the columns label, device; expected one column for",
        ),
        (
            "interactions: {device: context, label: context}",
            "interactions.label: found the role context; expected label",
        ),
        ("interactions: {device: ignore, timestamp: ignore}", "expected a column timestamp"),
        ("items: {ctr: context}", "found the role 'context'; expected one of item_id, image, feature, ignore"),
        ("item: {ctr: ignore}", "found an unknown table; expected one of interactions, items, users"),
        ("interactions: [device]", "found ['device']; expected a mapping of columns"),
        ("- device", "found ['device']; expected a mapping of tables"),
        ("{", "expected YAML. Correct it"),
        ("interactions: {device: ignore}\ninteractions: {}", "interactions is given twice"),
    ],
)
def test_what_cannot_be_a_role_is_refused(tmp_path: Path, roles: str, says: str) -> None:
    assert says in refusal(write(tmp_path, roles, device=["phone"] * 12))


def test_a_file_that_is_not_text_is_refused_and_an_empty_one_declares_nothing(tmp_path: Path) -> None:
    folder = write(tmp_path, "")
    assert feature_names(folder) == {"ctr", "city"}
    (folder / "columns.yaml").write_bytes(b"\xff\xfe")
    assert "expected YAML in UTF-8" in refusal(folder)


def test_context_that_is_written_is_read_again(tmp_path: Path) -> None:
    roles = "interactions: {device: context, shown.at-hour: context}"
    folder = write(tmp_path / "one", roles, **{"device": ["x"] * 12, "shown.at-hour": [1] * 12})
    written = tables.write(tables.read(folder), tmp_path / "two")
    assert tables.read(written).digest == tables.read(folder).digest
