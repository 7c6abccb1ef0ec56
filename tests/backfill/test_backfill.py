"""The backfill Job: what it writes, what it leaves alone, and that it can be killed at any moment."""

import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from redis_server import needs_redis, running_redis

from models.items import ItemRow
from serving.items.lmdb_store import LmdbStore
from serving.items.redis_store import RedisStore
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
    assert sorted(file.name for file in job.out.iterdir()) == ["captions-0-of-1.parquet", "failed-0-of-1.jsonl"]
    assert read_captions(str(job.out), set(EVERYTHING), lambda _: None) == {
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
    assert len(read_captions(str(job.out), set(EVERYTHING), lambda _: None)) == 39
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


def test_a_picture_that_cannot_be_captioned_any_more_keeps_its_caption(
    job: Any, repaint: Callable[[Path, int], None]
) -> None:
    job.run()
    repaint(job.data / "images" / "3.png", 99)
    job.captioner.refuse = {"i3"}
    assert job.run("--max-failed-share", "1").returncode == 0
    assert job.captions()["i3"] == "a corner of 3 red"
    with LmdbStore.open(job.store, readonly=True) as store:
        (row,) = store.get_many(["i3"])
    assert row is not None
    assert row.caption is not None
    assert row.caption.text == "a corner of 3 red"


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
    (job.data / "images" / "7.png").unlink()
    ended = job.run()
    assert ended.returncode == 1
    assert "items.image" in job.message()["message"]
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize(
    ("more", "says"),
    [
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
