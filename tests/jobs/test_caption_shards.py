"""Captions of the backfill: all of one set, or none."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from training.caption_shards import CaptionsError, read_captions

ROWS = [("a", "a red lamp"), ("b", None), ("c", "a sofa"), ("d", "")]
ITEMS = {"a", "b", "c", "d"}


def quiet(line):
    pass


@pytest.mark.parametrize("shards", [1, 2, 3, 4, 7])
def test_all_shards_together_are_the_captions(write_shards, tmp_path, shards):
    folder = write_shards(tmp_path / "captions", ROWS, shards)
    assert read_captions(str(folder), ITEMS, quiet) == {"a": "a red lamp", "c": "a sofa", "d": ""}
    assert read_captions(folder.as_uri(), {"c"}, quiet) == {"c": "a sofa"}


def test_who_wrote_them_is_said(write_shards, tmp_path):
    said = []
    read_captions(str(write_shards(tmp_path / "captions", ROWS, 2)), ITEMS, said.append)
    assert said == ["3 captions by tiny, prompt 'Describe the picture.'"]


def test_missing_shards_are_named(write_shards, tmp_path):
    folder = write_shards(tmp_path / "captions", ROWS, 5)
    for shard in (1, 3):
        (folder / f"captions-{shard}-of-5.parquet").unlink()
    with pytest.raises(CaptionsError, match="2 of 5 shards are missing: 1, 3; wait for the backfill"):
        read_captions(str(folder), ITEMS, quiet)


def damaged(folder):
    (folder / "captions-0-of-2.parquet").write_bytes(b"PAR1 no")


def of_two_backfills(folder):
    (folder / "captions-0-of-2.parquet").rename(folder / "captions-0-of-3.parquet")


def an_item_twice(folder):
    (folder / "captions-1-of-2.parquet").write_bytes((folder / "captions-0-of-2.parquet").read_bytes())


def without_a_column(folder):
    pq.write_table(pa.table({"item_id": ["a"]}), folder / "captions-0-of-2.parquet")


def one_too_many(folder):
    (folder / "captions-0-of-2.parquet").rename(folder / "captions-2-of-2.parquet")
    (folder / "captions-1-of-2.parquet").rename(folder / "captions-0-of-2.parquet")


def emptied(folder):
    for each in folder.iterdir():
        each.unlink()


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (damaged, "captions-0-of-2.parquet: cannot be read .* run the backfill again"),
        (of_two_backfills, r"holds shards of 2 backfills, of \[2, 3\] shards"),
        (an_item_twice, "item 'a' is in captions-0-of-2.parquet and in captions-1-of-2.parquet"),
        (without_a_column, r"captions-0-of-2.parquet: lacks \['caption', 'captioner', 'prompt'\]"),
        (one_too_many, "1 of 2 shards are missing: 1"),
        (emptied, "holds no captions"),
    ],
)
def test_a_spoilt_set_is_refused(write_shards, tmp_path, spoil, words):
    folder = write_shards(tmp_path / "captions", ROWS, 2)
    spoil(folder)
    with pytest.raises(CaptionsError, match=words):
        read_captions(str(folder), ITEMS, quiet)


def test_captions_of_other_items_altogether_are_refused(write_shards, tmp_path):
    folder = write_shards(tmp_path / "captions", ROWS, 2)
    with pytest.raises(CaptionsError, match="none of its 4 items, such as 'a', is an item of the data"):
        read_captions(str(folder), {"x"}, quiet)


@pytest.mark.parametrize("place", ["nowhere", "nothing://x"])
def test_a_folder_that_is_not_there_is_refused(place):
    with pytest.raises(CaptionsError, match="give"):
        read_captions(place, ITEMS, quiet)
