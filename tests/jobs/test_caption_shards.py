"""Captions of the backfill: all of one set, or none."""

import hashlib

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from serving.backfill.ledger import Ledger, Record
from training.caption_shards import CaptionsError, read_captions
from training.data.dataset import Dataset

ROWS = [("a", "a red lamp"), ("b", None), ("c", "a sofa"), ("d", "")]


def catalogue(**pictures):
    """A data set of the items, each with its picture's place or None."""
    items = pd.DataFrame({"item_id": list(pictures), "image": list(pictures.values())})
    interactions = pd.DataFrame({"user_id": ["u"], "item_id": [next(iter(pictures))], "label": [1], "timestamp": [1]})
    return Dataset.of(interactions, items, pd.DataFrame({"user_id": ["u"]}))


def at_shop(*items):
    """Items with the pictures that the fixture's captions are of."""
    return catalogue(**{item: f"https://shop.example/{item}.png" for item in items})


ITEMS = at_shop("a", "b", "c", "d")


def quiet(line):
    pass


@pytest.mark.parametrize("shards", [1, 2, 3, 4, 7])
def test_all_shards_together_are_the_captions(write_shards, tmp_path, shards):
    folder = write_shards(tmp_path / "captions", ROWS, shards)
    assert read_captions(str(folder), ITEMS, quiet) == {"a": "a red lamp", "c": "a sofa", "d": ""}
    assert read_captions(folder.as_uri(), at_shop("c"), quiet) == {"c": "a sofa"}


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
        read_captions(str(folder), at_shop("x"), quiet)


@pytest.mark.parametrize("place", ["nowhere", "nothing://x"])
def test_a_folder_that_is_not_there_is_refused(place):
    with pytest.raises(CaptionsError, match="give"):
        read_captions(place, ITEMS, quiet)


def test_one_flipped_bit_of_a_shard_never_becomes_another_caption(tmp_path):
    """Every page that a backfill writes has a checksum: a flip is refused, or is in bytes that say nothing."""
    made = [
        Record(
            f"i{number}", f"a red house {number}", "tiny", "Describe.", "0" * 64, f"https://shop.example/i{number}.png"
        )
        for number in range(3)
    ]
    Ledger(str(tmp_path), 0, 1).finish(made)
    file, items = tmp_path / "captions-0-of-1.parquet", at_shop("i0", "i1", "i2")
    whole, expected, refused = file.read_bytes(), {record.item_id: record.caption for record in made}, 0
    for place in range(0, len(whole), 2):
        file.write_bytes(whole[:place] + bytes([whole[place] ^ 4]) + whole[place + 1 :])
        try:
            found = read_captions(str(tmp_path), items, lambda line: None)
        except CaptionsError:
            refused += 1
        else:
            assert found == expected, f"byte {place}"
    assert refused > len(whole) / 8


def test_captions_of_another_data_set_whose_ids_coincide_are_refused(write_shards, tmp_path):
    folder = write_shards(tmp_path / "captions", ROWS, 2)
    other = catalogue(a="https://films.example/a.png", c=None, d=str(tmp_path / "d.png"))
    with pytest.raises(CaptionsError, match=r"3 captions of items with the ids of this data .* none is of the picture"):
        read_captions(str(folder), other, quiet)


def test_a_caption_counts_only_for_the_picture_that_its_item_has_now(write_shards, tmp_path):
    folder, said = write_shards(tmp_path / "captions", ROWS, 2), []
    moved = catalogue(a="https://shop.example/a.png", c="https://shop.example/c-2.png", d=None)
    assert read_captions(str(folder), moved, said.append) == {"a": "a red lamp"}
    assert said[-1] == "2 captions are of other pictures than their items have now, and do not count: 'c', 'd'"


def shard(folder, **columns):
    folder.mkdir()
    made_by = {"captioner": ["tiny"], "prompt": ["p"]}
    pq.write_table(
        pa.table({"item_id": ["a"], "caption": ["a lamp"], **made_by, **columns}), folder / "captions-0-of-1.parquet"
    )
    return str(folder)


def test_a_picture_on_this_machine_is_known_by_its_bytes_wherever_it_lies(tmp_path):
    picture = tmp_path / "moved.png"
    picture.write_bytes(b"lamp")
    digest = hashlib.sha256(b"lamp").hexdigest()
    folder = shard(tmp_path / "captions", image=[digest], place=["/elsewhere/a.png"])
    items = catalogue(a=str(picture))
    assert read_captions(folder, items, quiet) == {"a": "a lamp"}
    picture.write_bytes(b"sofa")
    with pytest.raises(CaptionsError, match="none is of the picture"):
        read_captions(folder, items, quiet)
    there = shard(tmp_path / "same-place", image=[digest], place=[str(picture)])
    with pytest.raises(CaptionsError, match="none is of the picture"):
        read_captions(there, items, quiet)
    picture.unlink()
    assert read_captions(there, items, quiet) == {"a": "a lamp"}, "not there now: the place says that it is the same"


def test_captions_of_an_earlier_version_are_known_by_their_bytes_or_refused_with_what_converts_them(tmp_path):
    picture = tmp_path / "a.png"
    picture.write_bytes(b"lamp")
    old = shard(tmp_path / "old", image=[hashlib.sha256(b"lamp").hexdigest()])
    assert read_captions(old, catalogue(a=str(picture)), quiet) == {"a": "a lamp"}
    for folder in (old, shard(tmp_path / "older")):
        with pytest.raises(
            CaptionsError, match=r"does not say of which pictures .* run the backfill again with the same --out"
        ):
            read_captions(folder, catalogue(a="s3://shop/a.png"), quiet)
