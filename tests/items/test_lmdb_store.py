"""What the LMDB adapter does with folders that are missing, damaged, foreign or newer."""

import os
import subprocess
import sys
from pathlib import Path

import lmdb
import numpy as np
import pytest

from models.items import ItemRow, ItemStoreError, StoredCaption
from serving.items.lmdb_store import LmdbStore


def rows(count: int) -> list[ItemRow]:
    caption = StoredCaption("a red car", np.arange(20, dtype=np.int32), "a" * 64, "tiny@1", "p")
    return [ItemRow(f"item-{i}", caption, {"popularity": 1.0}) for i in range(count)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "store"
    with LmdbStore.open(path) as store:
        store.put_many(rows(2000))
    return path


def edit(folder: Path, database: bytes, key: bytes, value: bytes) -> None:
    env = lmdb.open(str(folder), max_dbs=4)
    with env.begin(db=env.open_db(database), write=True) as txn:
        txn.put(key, value)
    env.close()


def test_reading_a_missing_folder_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ItemStoreError, match=r"there is no data\.mdb; caption the catalogue first"):
        LmdbStore.open(tmp_path / "none", readonly=True)
    assert not (tmp_path / "none").exists()


def test_a_readonly_store_reads_and_refuses_to_write(folder: Path) -> None:
    with LmdbStore.open(folder, readonly=True) as store:
        assert store.count() == 2000
        with pytest.raises(ItemStoreError):
            store.put_many(rows(1))


def test_a_file_of_other_bytes_is_refused(folder: Path) -> None:
    (folder / "data.mdb").write_bytes(b"not a database" * 1000)
    with pytest.raises(ItemStoreError, match="delete the folder and caption the catalogue again"):
        LmdbStore.open(folder)


def test_an_empty_file_is_refused(folder: Path) -> None:
    (folder / "data.mdb").write_bytes(b"")
    with pytest.raises(ItemStoreError, match=r"data\.mdb is empty"):
        LmdbStore.open(folder)


def test_a_cut_file_is_refused_when_opened(folder: Path) -> None:
    os.truncate(folder / "data.mdb", (folder / "data.mdb").stat().st_size // 2)
    with pytest.raises(ItemStoreError, match="its last page ends at"):
        LmdbStore.open(folder, readonly=True)


def test_a_file_cut_under_an_open_store_is_refused_instead_of_killing_the_process(folder: Path) -> None:
    with LmdbStore.open(folder, readonly=True) as store:
        os.truncate(folder / "data.mdb", (folder / "data.mdb").stat().st_size // 2)
        with pytest.raises(ItemStoreError, match="its last page ends at"):
            store.get_many(["item-1999"])


def test_a_file_deleted_under_an_open_store_is_noticed(folder: Path) -> None:
    with LmdbStore.open(folder, readonly=True) as store:
        (folder / "data.mdb").unlink()
        with pytest.raises(ItemStoreError, match="caption the catalogue first"):
            store.generation()


def test_another_store_in_its_place_is_noticed(folder: Path, tmp_path: Path) -> None:
    with LmdbStore.open(tmp_path / "other") as other:
        other.put_many(rows(1))
    with LmdbStore.open(folder, readonly=True) as store:
        (tmp_path / "other" / "data.mdb").replace(folder / "data.mdb")
        with pytest.raises(ItemStoreError, match="open the store again"):
            store.get_many(["item-1"])


def test_a_folder_of_another_program_is_refused_and_left_alone(tmp_path: Path) -> None:
    edit(tmp_path, b"their-table", b"k", b"v")
    before = (tmp_path / "data.mdb").read_bytes()
    with pytest.raises(ItemStoreError, match="was not written by Sightline"):
        LmdbStore.open(tmp_path)
    assert (tmp_path / "data.mdb").read_bytes() == before


def test_a_newer_folder_format_is_refused(folder: Path) -> None:
    edit(folder, b"meta", b"version", b"2")
    with pytest.raises(ItemStoreError, match="format version 2, this program reads version 1; upgrade"):
        LmdbStore.open(folder, readonly=True)


def test_a_newer_row_format_is_refused(folder: Path) -> None:
    edit(folder, b"items", b"item-7", b"\x03" + bytes(40))
    with LmdbStore.open(folder) as store, pytest.raises(ItemStoreError, match=r"'item-7': .* format 3"):
        store.get_many(["item-7"])


@pytest.mark.parametrize(
    "value", [b"", b"\x01", bytes([1]) + bytes(30), bytes([1, 1]) + bytes(300)], ids=["empty", "cut", "zeros", "long"]
)
def test_a_damaged_row_is_refused_by_name(folder: Path, value: bytes) -> None:
    edit(folder, b"items", b"item-7", value)
    with LmdbStore.open(folder) as store, pytest.raises(ItemStoreError, match="'item-7'"):
        store.get_many(["item-7"])


def test_one_changed_bit_anywhere_in_a_row_is_noticed(folder: Path) -> None:
    env = lmdb.open(str(folder), max_dbs=4)
    with env.begin(db=env.open_db(b"items"), write=True) as txn:
        value = txn.get(b"item-7")
        places = [at for at in range(len(value)) if at not in (2, 3)]  # two bytes that mean nothing
        for at in places:
            txn.put(b"bit-%d" % at, value[:at] + bytes([value[at] ^ 4]) + value[at + 1 :])
    env.close()
    with LmdbStore.open(folder) as store:
        for at in places:
            with pytest.raises(ItemStoreError, match=f"'bit-{at}'"):
                store.get_many([f"bit-{at}"])


def test_two_stores_on_one_folder_in_one_process_are_refused_with_a_reason(folder: Path) -> None:
    with LmdbStore.open(folder), pytest.raises(ItemStoreError, match="LMDB allows one per process"):
        LmdbStore.open(folder)


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ItemStoreError, match="give a folder that can be written"):
        LmdbStore.open(tmp_path / "file" / "store")


WRITER = """
import sys
from models.items import ItemRow
from serving.items.lmdb_store import LmdbStore
with LmdbStore.open(sys.argv[1], map_size=1 << 20) as store:
    store.put_many(ItemRow(f"new-{i}", None, {"pad": "x" * 1000}) for i in range(9000))
"""


def test_a_reader_follows_a_map_that_another_process_grew(folder: Path) -> None:
    with LmdbStore.open(folder, readonly=True) as store:
        before = store.generation()
        subprocess.run([sys.executable, "-c", WRITER, str(folder)], check=True, timeout=60)
        found = store.get_many(["new-8999", "item-3"])
        assert [row and row.item_id for row in found] == ["new-8999", "item-3"]
        assert store.generation() != before
        assert store.count() == 11000
