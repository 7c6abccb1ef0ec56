"""Exposures to a real HTTP server that refuses, is away, hangs and recovers."""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from models.experiments.events import EXPOSURE_TYPE, Exposure
from serving.transformer.exposures import recorder as module
from serving.transformer.exposures.collector_sink import CollectorSink
from serving.transformer.exposures.recorder import open_recorder
from serving.transformer.exposures.sink import SinkError


@dataclass
class Collector:
    """Answers what it is told to, 202 otherwise; keeps what it took."""

    url: str = ""
    answers: list[int] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    tries: list[list[str]] = field(default_factory=list)
    taken: list[dict[str, Any]] = field(default_factory=list)
    delay: float = 0.0

    def take(self, headers: dict[str, str], body: bytes) -> int:
        time.sleep(self.delay)
        events = json.loads(body)
        self.headers.append(headers)
        self.tries.append([event["id"] for event in events])
        answer = self.answers.pop(0) if self.answers else 202
        if answer == 202:
            self.taken += events
        return answer


@contextmanager
def listening(collector: Collector) -> Iterator[Collector]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            headers = {name.lower(): value for name, value in self.headers.items()}
            status = collector.take(headers | {"path": self.path}, body)
            self.send_response(status)
            if status == 503:
                self.send_header("Retry-After", "1")
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"no")

        def log_message(self, *_: object) -> None:
            """Quiet."""

    class Server(ThreadingHTTPServer):
        def handle_error(self, *_: object) -> None:
            """A client that has gone is meant here."""

    server = Server(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    collector.url = f"http://127.0.0.1:{server.server_port}/v1/exposures"
    try:
        yield collector
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)


@pytest.fixture
def collector() -> Iterator[Collector]:
    with listening(Collector()) as made:
        yield made


async def test_exposures_arrive_as_a_batch_of_cloud_events(kit: Any, collector: Collector) -> None:
    told = kit.told
    environment = {"SIGHTLINE_COLLECTOR_TOKEN": "let-me-in"}
    recorder = open_recorder(collector.url, queue=100, environment=environment, count=told.count, waiting=told.waiting)
    given = [kit.exposure(1), kit.exposure(2, items=('"\\ä',), scores=(1e-9,))]
    for each in given:
        recorder.record(each)
    async with kit.running(recorder):
        await kit.until(lambda: told.results["written"] == 2)
    (headers,) = collector.headers
    assert headers["content-type"] == "application/cloudevents-batch+json"
    assert headers["authorization"] == "Bearer let-me-in"
    assert headers["path"] == "/v1/exposures"
    assert [Exposure.model_validate(event["data"]) for event in collector.taken] == given
    first = collector.taken[0]
    assert {name: first[name] for name in ("specversion", "id", "type", "time", "datacontenttype")} == {
        "specversion": "1.0",
        "id": "event-1",
        "type": EXPOSURE_TYPE,
        "time": "2023-11-14T22:13:21Z",
        "datacontenttype": "application/json",
    }
    assert first["source"].startswith("/sightline/transformer/")


async def test_a_collector_that_fails_gets_the_same_ids_again(
    kit: Any, collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PAUSES", (0.02, 0.02, 0.02))
    collector.answers = [500, 503, 202]
    told = kit.told
    recorder = open_recorder(collector.url, queue=100, environment={}, count=told.count, waiting=told.waiting)
    for number in range(3):
        recorder.record(kit.exposure(number))
    began = time.monotonic()
    async with kit.running(recorder):
        await kit.until(lambda: told.results["written"] == 3)
    assert time.monotonic() - began > 1  # Retry-After
    assert collector.tries == [["event-0", "event-1", "event-2"]] * 3
    assert len(collector.taken) == 3
    assert "authorization" not in collector.headers[0]


async def test_a_collector_that_refuses_a_batch_is_not_asked_again(kit: Any, collector: Collector) -> None:
    collector.answers = [401]
    told = kit.told
    recorder = open_recorder(collector.url, queue=100, environment={}, count=told.count, waiting=told.waiting)
    recorder.record(kit.exposure(1))
    async with kit.running(recorder):
        await kit.until(lambda: told.results["failed"] == 1)
        recorder.record(kit.exposure(2))
        await kit.until(lambda: told.results["written"] == 1)
    assert collector.tries == [["event-1"], ["event-2"]]


def test_a_collector_that_hangs_or_is_not_there_fails_within_a_bound(kit: Any) -> None:
    with listening(Collector(delay=0.6)) as collector:
        sink = CollectorSink(collector.url, {}, timeout=0.2)
        began = time.monotonic()
        with pytest.raises(SinkError, match="does not answer: timed out") as failed:
            sink.write(kit.lines(1))
        assert time.monotonic() - began < 0.5
        assert failed.value.again
    with pytest.raises(SinkError, match="is it running"):
        sink.write(kit.lines(1))
    sink.close()


def test_the_reason_of_a_refusal_is_told(kit: Any, collector: Collector) -> None:
    sink = CollectorSink(collector.url, {})
    collector.answers = [400]
    with pytest.raises(SinkError, match=r"answers 400: no") as refused:
        sink.write(kit.lines(1))
    assert not refused.value.again
    sink.close()
