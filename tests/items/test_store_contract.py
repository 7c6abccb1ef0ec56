"""What every item store promises, whatever holds the rows."""

import threading
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from models.items import ItemRow, ItemRowError, ItemStoreError, Origin, StoredCaption, UserRow

TOKENIZER = "a" * 64


def captioned(item_id: str, text: str = "a red car", tokens: tuple[int, ...] = (5, 6, 7)) -> ItemRow:
    caption = StoredCaption(text, np.array(tokens, np.int32), TOKENIZER, "tiny@1", "Describe the picture.")
    return ItemRow(item_id, caption, {"popularity": 1.5})


def test_a_new_store_is_empty(store: Any) -> None:
    assert store.count() == 0
    assert list(store.items()) == []
    assert store.get_many(["242"]) == [None]
    assert store.get_user("196") is None


def test_a_row_comes_back_as_it_was_written(store: Any) -> None:
    row = captioned("242")
    assert store.put_many([row]) == 1
    (found,) = store.get_many(["242"])
    assert found == row
    assert found.caption.tokens.dtype == np.int32
    assert found.caption.tokens.tolist() == [5, 6, 7]
    assert found.features == {"popularity": 1.5}


def test_a_row_without_caption_comes_back_without_one(store: Any) -> None:
    store.put_many([ItemRow("1", None, {"genre": "drama", "year": 1994})])
    assert store.get_many(["1"]) == [ItemRow("1", None, {"genre": "drama", "year": 1994})]


def test_many_are_answered_in_the_order_asked_with_repeats_and_gaps(store: Any) -> None:
    store.put_many([captioned(str(i), tokens=(i, i)) for i in range(10)])
    found = store.get_many(["7", "missing", "3", "7"])
    assert [row and row.item_id for row in found] == ["7", None, "3", "7"]
    assert found[2].caption.tokens.tolist() == [3, 3]


def test_no_ids_give_no_rows(store: Any) -> None:
    assert store.get_many([]) == []


def test_rows_with_and_without_captions_keep_their_own_tokens(store: Any) -> None:
    rows = [
        captioned("a", tokens=(1,)),
        ItemRow("b", None, {}),
        captioned("c", tokens=()),
        captioned("d", tokens=(2, 3)),
    ]
    store.put_many(rows)
    assert store.get_many(["a", "b", "c", "d"]) == rows


def test_a_later_row_replaces_the_earlier_one(store: Any) -> None:
    store.put_many([captioned("1", "old")])
    store.put_many([captioned("1", "new")])
    assert store.get_many(["1"])[0].caption.text == "new"
    assert store.count() == 1


def test_items_are_listed_in_the_order_of_their_bytes(store: Any) -> None:
    names = [f"{i}" for i in range(2500)] + ["Ж", "z", "日本"]
    store.put_many(ItemRow(name, None, {}) for name in names)
    assert [row.item_id for row in store.items()] == sorted(names, key=str.encode)
    assert store.count() == len(names)


def test_the_generation_changes_with_every_write_and_only_then(store: Any) -> None:
    start = store.generation()
    store.get_many(["1"])
    assert store.generation() == start
    store.put_many([captioned("1")])
    first = store.generation()
    store.put_users([UserRow("196", {})])
    assert len({start, first, store.generation()}) == 3


def test_a_bad_row_leaves_the_whole_call_unwritten(store: Any) -> None:
    with pytest.raises(ItemRowError, match="item 'bad': feature 'popularity' is nan"):
        store.put_many([captioned("good"), ItemRow("bad", None, {"popularity": float("nan")})])
    assert store.count() == 0


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (ItemRow("", None, {}), "has 0 bytes"),
        (ItemRow("x" * 512, None, {}), "has 512 bytes"),
        (ItemRow("\ud800", None, {}), "not valid Unicode"),
        (ItemRow("1", None, {"genre": "\ud800"}), "item '1'"),
        (ItemRow("1", None, {"n": 2**70}), "64 bits"),
        (ItemRow("1", None, {"flag": True}), "feature 'flag' is True"),
        (ItemRow("1", None, {"list": [1]}), "feature 'list'"),  # type: ignore[dict-item]
        (ItemRow("1", None, {"inf": float("inf")}), "finite float"),
    ],
)
def test_a_row_that_cannot_be_stored_is_refused_by_name(store: Any, row: ItemRow, message: str) -> None:
    with pytest.raises(ItemRowError, match=message):
        store.put_many([row])


@pytest.mark.parametrize("tokens", [np.array([1.0]), np.array([[1]], np.int32), np.array([1], np.int64), [1]])
def test_tokens_of_another_type_or_shape_are_refused(store: Any, tokens: Any) -> None:
    with pytest.raises(ItemRowError, match=r"tokens are .*; expected a numpy array, int32 \[tokens\]"):
        store.put_many([ItemRow("1", StoredCaption("x", tokens, TOKENIZER, "c", "p"), {})])


def test_an_id_that_cannot_exist_is_simply_unknown(store: Any) -> None:
    assert store.get_many(["", "x" * 600, "\ud800"]) == [None, None, None]


def test_users_and_items_do_not_share_ids(store: Any) -> None:
    store.put_users([UserRow("1", {"occupation": "writer", "age": 49})])
    assert store.get_user("1") == UserRow("1", {"occupation": "writer", "age": 49})
    assert store.get_many(["1"]) == [None]


def test_more_rows_than_the_first_map_holds_are_kept(store: Any) -> None:
    rows = [captioned(f"item-{i}", "x" * 2000, tuple(range(50))) for i in range(3000)]
    assert store.put_many(rows) == 3000
    assert store.get_many(["item-2999"]) == [rows[2999]]


def test_readers_see_whole_batches_while_a_writer_writes(store: Any) -> None:
    """Every batch writes the same text into 50 rows: a reader must never see two texts at once."""
    ids = [str(i) for i in range(50)]
    store.put_many([captioned(i, "0") for i in ids])
    torn: list[set[str]] = []
    done = threading.Event()

    def read() -> None:
        while not done.is_set():
            texts = {row.caption.text for row in store.get_many(ids)}
            if len(texts) != 1:
                torn.append(texts)

    reader = threading.Thread(target=read)
    reader.start()
    for turn in range(60):
        store.put_many([captioned(i, str(turn) * 200) for i in ids])
    done.set()
    reader.join()
    assert torn == []
    assert store.get_many(["0"])[0].caption.text == "59" * 200


def test_a_caption_keeps_the_digest_of_its_picture(store: Any) -> None:
    caption = StoredCaption("a red car", np.array([1], np.int32), TOKENIZER, "tiny@1", "p", image="0f" * 32)
    store.put_many([ItemRow("1", caption, {"price": 3}), captioned("2")])
    with_image, without = store.get_many(["1", "2"])
    assert (with_image.caption, with_image.features) == (caption, {"price": 3})
    assert without.caption.image == "", "a row of an earlier version is read, and says that it does not know"


@pytest.mark.parametrize("image", ["0f", "zz" * 32, "0f" * 33])
def test_an_image_that_is_no_sha256_is_refused(store: Any, image: str) -> None:
    caption = StoredCaption("a red car", np.array([1], np.int32), TOKENIZER, "tiny@1", "p", image)
    with pytest.raises(ItemRowError, match=r"item '1': the caption's image is .* expected a sha256"):
        store.put_many([ItemRow("1", caption, {})])
    assert store.count() == 0


def test_rows_are_removed_all_at_once_and_what_is_not_there_is_no_error(store: Any) -> None:
    store.put_many([captioned(str(i)) for i in range(5)])
    store.put_users([UserRow(str(i), {"age": i}) for i in range(5)])
    before = store.generation()
    store.remove_many(["1", "3", "nothing"])
    store.remove_users(["0", "nothing"])
    assert [row.item_id for row in store.items()] == ["0", "2", "4"]
    assert store.count() == 3
    assert store.get_many(["1"]) == [None]
    assert set(store.user_ids()) == {"1", "2", "3", "4"}
    assert store.generation() != before


def test_a_store_says_whose_rows_it_holds(store: Any) -> None:
    assert store.origin() is None
    origin = Origin("s3://shop/tables", "sha256:" + "a" * 64, ("sha256:" + "b" * 64,))
    store.set_origin(origin)
    assert store.origin() == origin
    store.put_many([captioned("1")])
    assert [row.item_id for row in store.items()] == ["1"], "what it says is no item"


def test_a_closed_store_says_so(store: Any) -> None:
    store.close()
    store.close()
    with pytest.raises(ItemStoreError):
        store.get_many(["1"])


ids = st.text(min_size=1, max_size=60).filter(
    lambda text: text.encode(errors="ignore") == text.encode(errors="replace")
)
ids = ids.filter(lambda text: text != "\0")
features = st.dictionaries(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=12),
    st.one_of(
        st.text(st.characters(exclude_categories=["Cs"]), max_size=12),
        st.integers(-(2**63), 2**63 - 1),
        st.floats(allow_nan=False, allow_infinity=False),
    ),
    max_size=4,
)
captions = st.builds(
    StoredCaption,
    st.text(st.characters(exclude_categories=["Cs"]), max_size=80),
    st.lists(st.integers(-(2**31), 2**31 - 1), max_size=40).map(lambda ids: np.array(ids, np.int32)),
    st.just(TOKENIZER),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=10),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=10),
    st.just("") | st.binary(min_size=32, max_size=32).map(bytes.hex),
)
rows = st.builds(ItemRow, ids, st.none() | captions, features)


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(batch=st.lists(rows, max_size=8, unique_by=lambda row: row.item_id))
def test_any_rows_come_back_as_they_were_written(store: Any, batch: list[ItemRow]) -> None:
    store.put_many(batch)
    assert store.get_many([row.item_id for row in batch]) == batch
