"""Exposures in a real Redis that dies, hangs and wants a password."""

from pathlib import Path
from typing import Any

import pytest
from redis_server import needs_redis, running_redis

from models.experiments.events import Exposure
from serving.items.redis_link import RedisAddress
from serving.transformer.exposures import recorder as module
from serving.transformer.exposures.recorder import open_recorder
from serving.transformer.exposures.sink import SinkError
from serving.transformer.exposures.stream_sink import StreamSink

pytestmark = needs_redis


async def test_exposures_come_back_from_the_stream_as_they_were(kit: Any, tmp_path: Path) -> None:
    secret = {"SIGHTLINE_STORE_PASSWORD": "open sesame"}
    given = [kit.exposure(number) for number in range(600)]
    with running_redis(tmp_path, "--requirepass", "open sesame", environ=secret) as server:
        told = kit.told
        uri = f"{server.uri}?stream=exposures"
        recorder = open_recorder(uri, queue=1000, environment=secret, count=told.count, waiting=told.waiting)
        async with kit.running(recorder):
            for each in given:
                recorder.record(each)
        with server.client() as client:
            found = client.xrange("exposures")
    assert [Exposure.model_validate_json(fields[b"event"]) for _, fields in found] == given
    assert [fields[b"id"].decode() for _, fields in found] == [each.id for each in given]
    assert told.results == {"queued": 600, "written": 600}


def test_the_stream_is_kept_at_about_its_length(kit: Any, tmp_path: Path) -> None:
    with running_redis(tmp_path) as server:
        sink = StreamSink(RedisAddress.parse(server.uri), "exposures", 1000, {})
        for start in range(0, 5000, 500):
            sink.write(kit.lines(*range(start, start + 500)))
        with server.client() as client:
            assert 1000 <= client.xlen("exposures") <= 1200
        sink.close()


async def test_a_redis_that_dies_and_comes_back_loses_nothing_that_was_queued(
    kit: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PAUSES", (0.05,) * 100)
    told = kit.told
    with running_redis(tmp_path) as server:
        uri = f"{server.uri}?stream=exposures"
        recorder = open_recorder(uri, queue=1000, environment={}, count=told.count, waiting=told.waiting)
        async with kit.running(recorder):
            recorder.record(kit.exposure(1))
            await kit.until(lambda: told.results["written"] == 1)
            server.kill()
            for number in range(2, 50):
                recorder.record(kit.exposure(number))
            await kit.until(lambda: told.waits == 0)
            server.start()  # with nothing in it: it kept nothing on disk
            await kit.until(lambda: told.results["written"] == 49)
        with server.client() as client:
            assert [fields[b"id"].decode() for _, fields in client.xrange("exposures")] == [
                f"event-{number}" for number in range(2, 50)
            ]
    assert told.results == {"queued": 49, "written": 49}


def test_a_redis_that_hangs_refuses_or_holds_something_else_says_what_to_do(kit: Any, tmp_path: Path) -> None:
    with running_redis(
        tmp_path, "--requirepass", "open sesame", environ={"SIGHTLINE_STORE_PASSWORD": "open sesame"}
    ) as server:
        address = RedisAddress.parse(server.uri)
        with pytest.raises(SinkError, match=r"stream .x.: .*set SIGHTLINE_STORE_PASSWORD"):
            StreamSink(address, "x", 10, {}).write(kit.lines(1))
        sink = StreamSink(address, "x", 10, server.environ, timeout=0.2)
        with server.hanging(), pytest.raises(SinkError, match=r"no answer within 0.2 s"):
            sink.write(kit.lines(1))
        with server.client() as client:
            client.set("taken", "text")
        taken = StreamSink(address, "taken", 10, server.environ)
        with pytest.raises(SinkError, match="another program uses these keys"):
            taken.write(kit.lines(1))
    with pytest.raises(SinkError, match="is Redis running"):
        sink.write(kit.lines(1))
