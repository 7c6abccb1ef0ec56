"""Recording never waits and never raises, whatever the sink does; everything is counted once."""

import asyncio
import threading
import time
from collections.abc import Sequence
from typing import Any

import pytest

from serving.transformer.exposures import recorder as module
from serving.transformer.exposures.recorder import open_recorder
from serving.transformer.exposures.sink import ExposureError, Line, SinkError


class Kept:
    """A sink that keeps ids, fails as often as it is told, and can be held."""

    def __init__(self, *failures: SinkError) -> None:
        self.ids: list[str] = []
        self.failures = list(failures)
        self.batches: list[int] = []
        self.free = threading.Event()
        self.free.set()
        self.closed = False

    def write(self, batch: Sequence[Line]) -> int:
        self.free.wait(30)
        if self.failures:
            raise self.failures.pop(0)
        self.ids += [line.id for line in batch]
        self.batches.append(len(batch))
        return len(batch)

    def tend(self) -> None:
        """Nothing to do."""

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def _fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PAUSES", (0.01, 0.01, 0.01))


async def test_everything_arrives_in_order_and_in_batches(kit: Any) -> None:
    sink = Kept()
    recorder = kit.recorder(sink)
    for number in range(1234):
        recorder.record(kit.exposure(number))
    async with kit.running(recorder):
        await kit.until(lambda: len(sink.ids) == 1234)
    assert sink.ids == [f"event-{number}" for number in range(1234)]
    assert sink.batches == [500, 500, 234]
    assert kit.told.results == {"queued": 1234, "written": 1234}
    assert (kit.told.most, kit.told.waits) == (1234, 0)
    assert sink.closed


async def test_a_full_queue_drops_the_newest_and_a_dead_sink_blocks_nobody(kit: Any) -> None:
    sink = Kept()
    sink.free.clear()
    recorder = kit.recorder(sink, queue=100)
    async with kit.running(recorder):
        recorder.record(kit.exposure(0))
        await kit.until(lambda: kit.told.waits == 0)  # the sink has it, and hangs
        began = time.perf_counter()
        for number in range(1, 5001):
            recorder.record(kit.exposure(number))
        assert time.perf_counter() - began < 2.5  # building them included
        await asyncio.sleep(0)
        assert kit.told.results == {"queued": 101, "dropped": 4900}
        sink.free.set()
    assert sink.ids == [f"event-{number}" for number in range(101)]


@pytest.mark.usefixtures("_fast")
async def test_a_batch_is_tried_again_with_the_same_ids(kit: Any, caplog: pytest.LogCaptureFixture) -> None:
    sink = Kept(SinkError("away"), SinkError("still away", pause=0.02))
    recorder = kit.recorder(sink)
    with caplog.at_level("INFO", "sightline.exposures"):
        async with kit.running(recorder):
            recorder.record(kit.exposure(1))
            await kit.until(lambda: kit.told.results["written"] == 1)
    assert sink.ids == ["event-1"]
    assert [record.message for record in caplog.records] == ["away", "exposures are written again"]


@pytest.mark.usefixtures("_fast")
async def test_a_batch_is_given_up_after_so_many_tries_and_the_next_one_goes_on(kit: Any) -> None:
    sink = Kept(*(SinkError("away") for _ in range(4)))
    recorder = kit.recorder(sink)
    async with kit.running(recorder):
        recorder.record(kit.exposure(1))
        await kit.until(lambda: kit.told.results["failed"] == 1)
        recorder.record(kit.exposure(2))
        await kit.until(lambda: kit.told.results["written"] == 1)
    assert sink.ids == ["event-2"]
    assert kit.told.results == {"queued": 2, "failed": 1, "written": 1}


async def test_a_refused_batch_is_not_tried_again(kit: Any) -> None:
    sink = Kept(SinkError("no such route", again=False))
    recorder = kit.recorder(sink)
    async with kit.running(recorder):
        recorder.record(kit.exposure(1))
        await kit.until(lambda: kit.told.results["failed"] == 1)
    assert sink.ids == []


async def test_what_waits_at_the_end_is_written(kit: Any) -> None:
    sink = Kept()
    recorder = kit.recorder(sink)
    async with kit.running(recorder):
        await asyncio.sleep(0.05)  # it rests now
        for number in range(700):
            recorder.record(kit.exposure(number))
    assert len(sink.ids) == 700
    recorder.record(kit.exposure(1))
    assert kit.told.results == {"queued": 700, "written": 700, "dropped": 1}


async def test_a_sink_that_is_away_at_the_end_costs_a_bounded_time_and_is_counted(kit: Any) -> None:
    sink = Kept(*(SinkError("away") for _ in range(1000)))
    recorder = kit.recorder(sink, flush_seconds=0.6)
    for number in range(1200):
        recorder.record(kit.exposure(number))
    began = time.perf_counter()
    async with kit.running(recorder):
        await asyncio.sleep(0.1)
    assert time.perf_counter() - began < 3
    assert kit.told.results == {"queued": 1200, "failed": 1200}
    assert sink.closed


async def test_a_text_that_is_no_unicode_is_counted_and_raises_nothing(kit: Any) -> None:
    sink = Kept()
    recorder = kit.recorder(sink)
    recorder.record(kit.exposure(1).model_copy(update={"model": "\ud800"}))
    assert kit.told.results == {"failed": 1}


@pytest.mark.parametrize(
    ("uri", "says"),
    [
        ("", "cannot be read as an address"),
        ("folder", "expected file:///folder"),
        ("s3://bucket/exposures", "cannot be read as an address"),
        ("file://other/folder", "names no folder of this machine"),
        ("file:///", "names no folder"),
        ("file:///x?secnods=3", r"\['secnods'\] is unknown; expected \['bytes', 'seconds'\]"),
        ("file:///x?seconds=0", "seconds is '0'; expected a whole number of at least 1"),
        ("file:///x?bytes=1e9", "bytes is '1e9'; expected a whole number of at least 1024"),
        ("redis://host:6379/0", r"names no stream; add \?stream=name"),
        ("redis://host:port/0?stream=x", "Port could not be cast"),
        ("redis://host/zero?stream=x", "cannot be read as an address"),
        ("redis://host/0?stream=x&maxlen=-1", "maxlen is '-1'"),
        ("redis://:secret@host/0?stream=x", "set SIGHTLINE_STORE_PASSWORD"),
        ("http:///v1/exposures", "cannot be read as an address"),
        ("http://host:99999/v1/exposures", "99999"),
        ("http://host/v1/exposures?x", "bad query field"),
    ],
)
def test_an_address_that_is_none_is_refused(kit: Any, uri: str, says: str) -> None:
    with pytest.raises(ExposureError, match=says) as refused:
        open_recorder(uri, queue=1, environment={}, count=kit.told.count, waiting=kit.told.waiting)
    assert "secret" not in str(refused.value)


def test_a_queue_without_room_and_a_token_that_no_header_carries_are_refused(kit: Any) -> None:
    told = kit.told
    with pytest.raises(ExposureError, match="queue is 0"):
        open_recorder("file:///x", queue=0, environment={}, count=told.count, waiting=told.waiting)
    with pytest.raises(ExposureError, match="SIGHTLINE_COLLECTOR_TOKEN has characters"):
        open_recorder(
            "http://host/v1/exposures",
            queue=1,
            environment={"SIGHTLINE_COLLECTOR_TOKEN": "a\nb"},
            count=told.count,
            waiting=told.waiting,
        )
