"""The list of items that wait for a caption."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.transformer.missing import MissingCaptions, read_ids, write_ids


def test_ids_are_kept_once_in_the_order_they_were_missed_until_captioned() -> None:
    written: list[list[str]] = []
    missing = MissingCaptions(10, lambda ids: written.append(list(ids)))
    assert missing.take() is None
    missing.missed(["a", "b", "a"])
    missing.missed(["c", "b"])
    missing.captioned(["b", "never missed"])
    taken = missing.take()
    assert taken == ["a", "c"]
    missing.flush(taken)
    assert written == [["a", "c"]]
    missing.missed(["a"])
    missing.captioned(["never missed"])
    assert missing.take() is None, "nothing changed"


def test_a_full_list_takes_no_more_and_counts() -> None:
    missing = MissingCaptions(2, lambda ids: None)
    missing.missed(["a", "b", "c", "d"])
    assert (len(missing), missing.dropped) == (2, 2)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), min_size=1), unique=True, max_size=20))
def test_any_ids_come_back_from_the_file(tmp_path_factory: pytest.TempPathFactory, ids: list[str]) -> None:
    path = tmp_path_factory.mktemp("missing") / "missing.jsonl"
    write_ids(path)(ids)
    assert read_ids(path) == ids
    assert [file.name for file in path.parent.iterdir()] == ["missing.jsonl"]


def test_a_missing_file_is_an_empty_list_and_a_broken_one_is_named(tmp_path: Path) -> None:
    assert read_ids(tmp_path / "none") == []
    (tmp_path / "broken").write_text('"a"\n{\n')
    with pytest.raises(ValueError, match="broken, line 2"):
        read_ids(tmp_path / "broken")
    (tmp_path / "broken").write_text("3\n")
    with pytest.raises(ValueError, match="is 3; expected one JSON string"):
        read_ids(tmp_path / "broken")
