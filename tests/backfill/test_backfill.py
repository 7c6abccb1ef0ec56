"""The backfill Job: what it writes, what it leaves alone, and that it can be killed at any moment."""

import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pandas as pd
import pytest
from redis_server import needs_redis, running_redis

from models.items import ItemRow, Origin
from serving.items.lmdb_store import LmdbStore
from serving.items.redis_store import RedisStore
from serving.items.uri import open_store
from serving.items.user_keys import UserKeys
from training.caption_shards import read_captions
from training.data import features, splits, tables

EVERYTHING = [f"i{i}" for i in range(40)]
WITH_PICTURE = EVERYTHING[:-1]


def test_a_run_writes_items_users_and_captions_as_training_counts_them(job: Any, tokenizer_sha256: str) -> None:
    ended = job.run()
    assert ended.returncode == 0, ended.stderr
    dataset = tables.read(job.data)
    split = splits.within_user_time(dataset)
    items, users = features.item_rows(dataset, split), features.user_rows(dataset, split)
    with LmdbStore.open(job.store, readonly=True) as store:
        for row in store.get_many(EVERYTHING):
            assert row is not None
            assert row.features == items[row.item_id]
            if row.item_id == "i39":
                assert row.caption is None
                continue
            assert row.caption is not None
            assert row.caption.text == f"a corner of {row.item_id[1:]} red"
            assert (row.caption.captioner, row.caption.prompt) == ("fake@1", "p")
            assert row.caption.tokenizer == tokenizer_sha256
            assert row.caption.tokens.dtype == np.int32
            assert len(row.caption.tokens) > 3
        for user, values in users.items():
            stored = store.get_user(user)
            assert stored is not None
            assert stored.features == values
    message = job.message()
    counts = {"items": 40, "captioned": 39, "kept": 0, "without_picture": 1, "failed": 0}
    assert message.items() >= {"job": "backfill", "outcome": "done", "shard": "0 of 1", **counts}.items()
    cuts = message["captions_cut"]
    assert {name: cuts[name] for name in ("captions", "cut", "max_tokens")} == {
        "captions": 39,
        "cut": 0,
        "max_tokens": 32,
    }
    assert sorted(file.name for file in job.out.iterdir()) == ["captions-0-of-1.parquet", "failed-0-of-1.jsonl"]
    assert read_captions(str(job.out), tables.read(job.data), lambda _: None) == {
        item: f"a corner of {item[1:]} red" for item in WITH_PICTURE
    }


def test_a_second_run_captions_and_writes_nothing(job: Any) -> None:
    job.run()
    job.captioner.seen.clear()
    with LmdbStore.open(job.store, readonly=True) as store:
        before = list(store.items())
    ended = job.run()
    assert ended.returncode == 0, ended.stderr
    assert job.captioner.seen == []
    assert job.message()["kept"] == 39
    with LmdbStore.open(job.store, readonly=True) as store:
        assert list(store.items()) == before


def test_a_changed_picture_another_captioner_and_again_are_captioned_anew(
    job: Any, repaint: Callable[[Path, int], None]
) -> None:
    job.run()
    job.captioner.seen.clear()
    repaint(job.data / "images" / "7.png", 200)
    job.run()
    assert job.captioner.seen == ["i7"]
    assert job.captions()["i7"] == "a corner of 200 red"
    job.captioner.captioner = "fake@2"
    job.captioner.seen.clear()
    job.run()
    assert sorted(job.captioner.seen) == sorted(WITH_PICTURE)
    job.captioner.seen.clear()
    job.run("--again")
    assert sorted(job.captioner.seen) == sorted(WITH_PICTURE)
    with LmdbStore.open(job.store, readonly=True) as store:
        (row,) = store.get_many(["i7"])
    assert row is not None
    assert row.caption is not None
    assert (row.caption.text, row.caption.captioner) == ("a corner of 200 red", "fake@2")


def test_a_store_that_came_back_empty_is_filled_without_captioning(job: Any, tmp_path: Path) -> None:
    job.run()
    job.captioner.seen.clear()
    first, job.store = job.store, str(tmp_path / "new")
    assert job.run().returncode == 0
    assert job.captioner.seen == []
    with LmdbStore.open(first, readonly=True) as before, LmdbStore.open(job.store, readonly=True) as after:
        assert list(after.items()) == list(before.items())


def test_a_key_hides_the_users_ids_and_another_one_writes_them_anew(job: Any) -> None:
    dataset = tables.read(job.data)
    users = list(features.user_rows(dataset, splits.within_user_time(dataset)))

    def stored(key: str) -> list[str]:
        """Ids as they are in the store, whose users all are found by their own ids."""
        with LmdbStore.open(job.store, readonly=True, user_keys=UserKeys(key.encode())) as store:
            assert store.origin().users == store.user_keys.fingerprint
            assert all(store.has_user(user) for user in users)
            return list(store.user_ids())

    assert job.run().returncode == 0
    assert sorted(stored("")) == sorted(users)
    seen = [set(users)]
    for key in ("a key of this site alone", "another key altogether", ""):
        for shard in ("1", "0"):  # whichever comes first
            ended = job.run("--shards", "2", "--shard", shard, SIGHTLINE_STORE_USER_KEY=key)
            assert ended.returncode == 0, ended.stderr
        seen.append(set(stored(key)))
        assert len(seen[-1]) == len(users), "none of another key is left"
    assert seen[0] == seen[3]
    assert not seen[0] & seen[1]
    assert not seen[1] & seen[2]


def test_shards_part_the_catalogue_and_the_first_writes_the_users(job: Any) -> None:
    job.run("--shards", "3", JOB_COMPLETION_INDEX="1")
    with LmdbStore.open(job.store, readonly=True) as store:
        assert store.get_user("u1") is None
    for shard in (0, 2):
        assert job.run("--shards", "3", "--shard", str(shard)).returncode == 0
    with LmdbStore.open(job.store, readonly=True) as store:
        assert store.count() == 40
        assert store.get_user("u1") is not None
    parts = [set(job.captions(f"captions-{shard}-of-3.parquet")) for shard in range(3)]
    assert all(len(part) > 3 for part in parts)
    assert sum(map(len, parts)) == 39
    assert len(read_captions(str(job.out), tables.read(job.data), lambda _: None)) == 39
    assert sorted(job.captioner.seen) == sorted(WITH_PICTURE)


def wait_for_calls(job: Any, count: int) -> None:
    deadline = time.monotonic() + 60
    while len(job.captioner.seen) < count:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def slowly(fake: Any) -> int:
    time.sleep(0.15)
    return 200


def test_a_run_that_is_killed_goes_on_where_it_was(job: Any) -> None:
    job.captioner.before = slowly
    for calls in (9, 20, 30):
        with job.start() as process:
            wait_for_calls(job, calls)
            process.kill()
        assert not (job.out / "captions-0-of-1.parquet").exists()
    assert len(job.captioner.seen) < 39 + 1, "nothing is done twice but the steps that were cut off"
    job.captioner.before = lambda _: 200
    ended = job.run()
    assert ended.returncode == 0, ended.stderr
    assert job.message()["kept"] > 15
    assert len(job.captioner.seen) <= 39 + 3 * 4
    assert [item for item, caption in job.captions().items() if caption is None] == []
    assert set(job.captions()) == set(WITH_PICTURE)
    with LmdbStore.open(job.store, readonly=True) as store:
        assert store.count() == 40


def test_sigterm_keeps_the_work_and_ends_with_75(job: Any) -> None:
    job.captioner.before = slowly
    with job.start() as process:
        wait_for_calls(job, 12)
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 75
    message = job.message()
    assert message["outcome"] == "interrupted"
    assert message["captioned"] >= 8
    assert not (job.out / "captions-0-of-1.parquet").exists()
    job.captioner.before = lambda _: 200
    assert job.run().returncode == 0
    assert job.message()["kept"] >= 8


def test_sigterm_while_the_tables_are_read_ends_with_75_too(job: Any) -> None:
    with job.start() as process:
        time.sleep(1.0)
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) in (75, -signal.SIGTERM), "the second only before the first line has run"


def test_refused_pictures_are_counted_listed_and_not_fatal_below_the_share(job: Any) -> None:
    job.captioner.refuse = {"i3", "i5"}
    ended = job.run("--max-failed-share", "0.1")
    assert ended.returncode == 0, ended.stderr
    assert job.message()["failed"] == 2
    failed = pd.read_json(job.out / "failed-0-of-1.jsonl", lines=True)
    assert failed["item_id"].tolist() == ["i3", "i5"]
    assert failed["failure"].tolist() == ["undecodable_image: broken"] * 2
    assert job.captions()["i3"] is None
    with LmdbStore.open(job.store, readonly=True) as store:
        (row,) = store.get_many(["i3"])
    assert row is not None
    assert row.caption is None
    job.captioner.refuse = set()
    job.captioner.seen.clear()
    assert job.run().returncode == 0
    assert sorted(job.captioner.seen) == ["i3", "i5"], "they are tried again"
    assert job.captions()["i3"] == "a corner of 3 red"


def test_too_many_refused_pictures_fail_the_shard_without_a_result(job: Any) -> None:
    job.captioner.refuse = {f"i{i}" for i in range(5)}
    ended = job.run()
    assert ended.returncode == 1
    message = job.message()
    assert message["outcome"] == "failed"
    assert "5 of 39 pictures have no caption" in message["message"]
    assert "--max-failed-share" in message["message"]
    assert not (job.out / "captions-0-of-1.parquet").exists()


def stored(job: Any, item: str) -> str | None:
    """The caption of an item in the store; the item must be there."""
    with open_store(job.store, {}, readonly=True) as store:
        (row,) = store.get_many([item])
    assert row is not None
    return row.caption.text if row.caption else None


def test_a_picture_that_cannot_be_captioned_any_more_keeps_the_caption_that_is_its_own(job: Any) -> None:
    job.run()
    job.captioner.captioner, job.captioner.refuse = "fake@2", {"i3"}
    assert job.run("--max-failed-share", "1").returncode == 0
    assert job.captions()["i3"] == stored(job, "i3") == "a corner of 3 red"


def test_a_changed_picture_loses_the_caption_of_the_one_before(job: Any, repaint: Callable[[Path, int], None]) -> None:
    job.run()
    repaint(job.data / "images" / "3.png", 99)
    job.captioner.refuse = {"i3"}
    assert job.run("--max-failed-share", "1").returncode == 0
    assert job.captions()["i3"] is None
    assert stored(job, "i3") is None


def test_a_picture_that_cannot_be_read_keeps_its_caption_while_it_has_the_same_place(job: Any) -> None:
    job.run()
    (job.data / "images" / "3.png").unlink()
    items = pd.read_parquet(job.data / "items.parquet")
    items.loc[items["item_id"] == "i5", "image"] = "images/nowhere.png"
    items.loc[items["item_id"] == "i7", "image"] = None
    items.to_parquet(job.data / "items.parquet")
    for out in (job.out, job.out.parent / "new"):
        job.out = out
        ended = job.run("--max-failed-share", "1")
        assert ended.returncode == 0, ended.stderr
        assert "i3" in ended.stderr
        assert stored(job, "i3") == "a corner of 3 red"
        assert stored(job, "i7") is None
    job.out = job.out.parent / "out"
    assert (job.captions()["i3"], job.captions()["i5"]) == ("a corner of 3 red", None)
    assert "i7" not in job.captions()


@needs_redis
@pytest.mark.parametrize("kind", ["lmdb", "redis"])
def test_a_store_of_another_data_set_is_refused_and_replaced_when_told_to(job: Any, tmp_path: Path, kind: str) -> None:
    """Items i0 to i9 exist in both; the other data has a film's picture for them, and people of its own."""
    with running_redis(tmp_path / "redis") if kind == "redis" else nullcontext() as server:
        job.store = server.uri if server else job.store
        other = tmp_path / "films"
        shutil.copytree(job.data, other)
        extra = pd.DataFrame({"user_id": ["u0", "nobody"], "town": ["x", "x"]})
        extra.to_parquet(other / "users.parquet")
        interactions = pd.read_parquet(other / "interactions.parquet")
        interactions[interactions["user_id"] == "u0"].to_parquet(other / "interactions.parquet")
        items = pd.read_parquet(other / "items.parquet")
        items["item_id"] = items["item_id"].where(items.index < 10, "film-" + items["item_id"])
        items.to_parquet(other / "items.parquet")
        interactions = pd.DataFrame(
            [("u0", item, float(n % 2), 1_700_000_000 + n) for n, item in enumerate(items["item_id"])],
            columns=["user_id", "item_id", "label", "timestamp"],
        )
        interactions.to_parquet(other / "interactions.parquet")
        mine = job.data
        job.data = other
        assert job.run().returncode == 0
        job.captioner.seen.clear()
        job.data, job.out = mine, tmp_path / "mine"
        refused = job.run()
        assert refused.returncode == 1
        said = job.message()["message"]
        assert str(other) in said
        assert str(mine) in said
        assert said.endswith("the same command with --replace-data")
        assert job.captioner.seen == [], "nothing is captioned before the refusal"
        assert job.run("--replace-data").returncode == 0
        with open_store(job.store, {}, readonly=True) as store:
            assert {row.item_id for row in store.items()} == set(EVERYTHING)
            assert set(store.user_ids()) == {f"u{u}" for u in range(10)}
            origin = store.origin()
        assert origin is not None
        assert (origin.place, origin.digest, origin.earlier) == (str(mine), tables.read(mine).digest, ())


def test_a_store_of_the_same_tables_grown_goes_on_without_a_word(job: Any) -> None:
    job.run()
    first = tables.read(job.data).digest
    items = pd.read_parquet(job.data / "items.parquet")
    items["year"] += 1
    items.to_parquet(job.data / "items.parquet")
    assert job.run().returncode == 0
    with LmdbStore.open(job.store, readonly=True) as store:
        origin = store.origin()
    assert origin is not None
    assert origin.earlier == (first,)
    assert job.message()["kept"] == 39


def test_a_store_of_an_earlier_version_is_refused_with_what_converts_it(job: Any) -> None:
    with LmdbStore.open(job.store) as store:
        store.put_many([ItemRow("i1", None, {"year": 1})])
    assert job.run().returncode == 1
    assert "does not say of which data set it is (an earlier version wrote it)" in job.message()["message"]
    assert job.run("--replace-data").returncode == 0


def test_a_captioner_that_is_not_ready_is_waited_for(job: Any) -> None:
    begun = time.monotonic()
    job.captioner.before = lambda _: 200 if time.monotonic() > begun + 6 else 404
    ended = job.run()
    assert ended.returncode == 0, ended.stderr
    assert "waiting up to 20 s for the captioner" in ended.stderr


def test_a_captioner_that_stays_away_fails_the_shard(job: Any) -> None:
    job.captioner.url = "http://127.0.0.1:9"
    ended = job.run("--wait-seconds", "0.5")
    assert ended.returncode == 69
    assert "the captioner at http://127.0.0.1:9 took none" in job.message()["message"]
    assert "Traceback" not in ended.stderr


def test_tables_with_faults_are_refused_with_their_faults(job: Any) -> None:
    items = pd.read_parquet(job.data / "items.parquet")
    items.loc[7, "image"] = "../7.png"
    items.to_parquet(job.data / "items.parquet")
    ended = job.run()
    assert ended.returncode == 1
    assert "items.image" in job.message()["message"]
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (["--only-missing", "--replace-data"], "--only-missing needs a store"),
        (["--only-missing", "--replace-data", "--store", "redis://x"], "would leave the store with those items alone"),
        (["--shards", "3"], "give --shard, or run in an Indexed Job"),
        (["--shards", "3", "--shard", "3"], "numbered from 0 to 2"),
        (["--only-missing"], "--only-missing needs a store in Redis"),
        (["--max-failed-share", "2"], "expected a share from 0 to 1"),
        (["--batch", "0"], "expected 1 or more"),
        (["--agian"], "unrecognized arguments: --agian"),
    ],
)
def test_wrong_options_are_usage_errors(job: Any, more: list[str], says: str) -> None:
    ended = job.run(*more)
    assert ended.returncode == 2
    assert says in ended.stderr


@needs_redis
def test_only_what_was_missed_is_captioned_and_leaves_the_list(job: Any, tmp_path: Path) -> None:
    with running_redis(tmp_path / "redis") as server:
        job.store = server.uri
        with RedisStore.open(server.uri, {}) as store:
            store.set_origin(Origin(str(job.data), "sha256:" + "0" * 64))
            store.put_many([ItemRow("i1", None, {})])
            store.want(["i2", "i1", "i39", "not in the catalogue"], limit=10)
            ended = job.run("--only-missing")
            assert ended.returncode == 0, ended.stderr
            assert sorted(job.captioner.seen) == ["i1", "i2"]
            assert store.wanted() == []
            assert store.count() == 2
            assert set(job.captions()) == {"i1", "i2"}
            assert job.run().returncode == 0
            assert len(job.captioner.seen) == 39, "those two are not captioned again"
            assert store.count() == 40


@needs_redis
def test_a_store_that_dies_fails_the_shard_and_the_next_run_goes_on(job: Any, tmp_path: Path) -> None:
    with running_redis(tmp_path / "redis") as server:
        job.store = server.uri
        job.captioner.before = lambda fake: (server.kill() if len(fake.seen) == 20 else None, 200)[1]
        ended = job.run()
        assert ended.returncode == 69
        assert "is Redis running" in job.message()["message"]
        server.start()
        job.captioner.before = lambda _: 200
        ended = job.run()
        assert ended.returncode == 0, ended.stderr
        assert job.message()["kept"] >= 20
        with RedisStore.open(server.uri, {}) as store:
            assert store.count() == 40


def test_tables_and_pictures_of_an_object_store_are_captioned_as_those_of_a_folder(job: Any, bucket: str) -> None:
    folder = job.data
    files = fsspec.filesystem("s3")
    files.put(f"{folder}/", "shop/tables/", recursive=True)
    files.rm("shop/tables/images/3.png")
    job.data = f"{bucket}/tables"
    ended = job.run("--max-failed-share", "0.1")
    assert ended.returncode == 0, ended.stderr
    assert job.message()["failed"] == 1
    assert stored(job, "i7") == "a corner of 7 red"
    with LmdbStore.open(job.store, readonly=True) as store:
        origin = store.origin()
    assert origin is not None
    assert (origin.place, origin.digest) == ("s3://shop/tables", tables.read(folder).digest)
    captions = read_captions(str(job.out), tables.read("s3://shop/tables"), lambda _: None)
    assert len(captions) == 38


@pytest.mark.parametrize("command", ["caption", "train"])
def test_an_object_store_that_cannot_be_read_is_named_as_it_was_given(command: str, bucket: str) -> None:
    words = [sys.executable, "-m", "serving.cli.main", "--root", "/nowhere", command, "--dataset", "s3://nowhere/x"]
    ended = subprocess.run(words, capture_output=True, text=True, check=False)
    assert ended.returncode == 1, ended.stderr
    assert "s3://nowhere/x" in ended.stderr
    assert "Traceback" not in ended.stderr
