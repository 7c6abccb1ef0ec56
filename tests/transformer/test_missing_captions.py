"""The list of items that wait for a caption."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.items import ItemStoreError
from serving.transformer.missing import MissingCaptions, read_ids, share_ids, write_ids


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


class Shared:
    """A set that other replicas write too."""

    def __init__(self) -> None:
        self.ids: list[str] = ["theirs"]
        self.away = False

    def __enter__(self) -> "Shared":
        return self

    def __exit__(self, *_: object) -> None: ...

    def want(self, item_ids: list[str], limit: int) -> None:
        if self.away:
            raise ItemStoreError("away")
        self.ids = (self.ids + [each for each in item_ids if each not in self.ids])[:limit]

    def unwant(self, item_ids: list[str]) -> None:
        self.ids = [each for each in self.ids if each not in item_ids]


def test_a_shared_set_hears_what_came_and_went_and_keeps_what_others_noted() -> None:
    shared = Shared()
    missing = MissingCaptions(10, share_ids(lambda: shared, 3))
    for missed, captioned, expected in (
        (["a"], [], ["theirs", "a"]),
        (["b", "c"], ["a"], ["theirs", "b"]),
        ([], ["theirs", "b"], ["theirs"]),
    ):
        missing.missed(missed)
        missing.captioned(captioned)
        taken = missing.take()
        assert taken is not None
        missing.flush(taken)
        assert shared.ids == expected


def test_a_list_that_cannot_be_written_is_given_again() -> None:
    shared = Shared()
    shared.away = True
    missing = MissingCaptions(10, share_ids(lambda: shared, 3))
    missing.missed(["a"])
    for _ in range(2):
        taken = missing.take()
        assert taken == ["a"]
        with pytest.raises(ItemStoreError, match="away"):
            missing.flush(taken)
    shared.away = False
    assert missing.take() == ["a"]
    missing.flush(["a"])
    assert shared.ids == ["theirs", "a"]
    assert missing.take() is None
