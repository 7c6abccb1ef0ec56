"""Answers of other services: never printed, never decompressed, bounded in bytes; no password in any message."""

import threading
import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import pytest

from serving.rollout.evidence.bounded import AnswerError, ask, redacted
from serving.rollout.evidence.collector import CollectorEvidence
from serving.rollout.evidence.prometheus_api import NoData, PrometheusApi
from serving.rollout.experiment.evidence import EvidenceError
from serving.rollout.experiment.ports import RefusedError, RetryError
from serving.rollout.kubernetes.warming import warm_at
from tests.collector.book import QUERY

SECRET = "AKIA-somebody-elses-secret"


@pytest.fixture(scope="module")
def bomb() -> bytes:
    """400 MB in 2 MB."""
    packer = zlib.compressobj(1, wbits=31)
    return b"".join([*(packer.compress(bytes(1 << 20)) for _ in range(400)), packer.flush()])


@contextmanager
def answering(status: int, content: bytes, **headers: str) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("content-length") or 0))
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name.replace("_", "-"), value)
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            try:
                self.wfile.write(content)
            except OSError:  # the client has seen enough
                return

        do_GET = do_POST  # noqa: N815 - the library's name

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()
    thread.join()


def by_collector(url: str) -> None:
    source = CollectorEvidence(url)
    try:
        source.evidence(QUERY)
    finally:
        source.close()


def by_prometheus(url: str) -> None:
    with httpx.Client() as client:
        PrometheusApi(client, url, datetime.now(UTC), 5).number("up")


def by_warming(url: str) -> None:
    with httpx.Client() as client:
        warm_at(client, f"{url}/v2/models/ranker", "pod", "sha256:0")


WAYS: list[tuple[Callable[[str], None], Any]] = [
    (by_collector, EvidenceError),
    (by_prometheus, NoData),
    (by_warming, (RetryError, RefusedError)),
]
with_ways = pytest.mark.parametrize(("way", "error"), WAYS, ids=["collector", "prometheus", "warming"])


@with_ways
def test_a_gzip_bomb_is_not_unpacked(way: Callable[[str], None], error: Any, bomb: bytes) -> None:
    with answering(200, bomb, content_encoding="gzip", content_type="application/json") as url:
        tracemalloc.start()
        try:
            with pytest.raises(error, match="is compressed, which was not asked for"):
                way(url)
            assert tracemalloc.get_traced_memory()[1] < 8 << 20, "400 MB were unpacked"
        finally:
            tracemalloc.stop()


@with_ways
@pytest.mark.parametrize("status", [200, 403, 500])
@pytest.mark.parametrize(
    "content",
    [
        SECRET.encode(),
        b'{"secret": "%s"}' % SECRET.encode(),
        b'{"error": "%s", "data": null}' % SECRET.encode(),
        b'{"error": {"code": "%s", "message": "%s"}}' % (SECRET.encode(), SECRET.encode()),
    ],
)
def test_what_another_service_says_is_never_printed(
    way: Callable[[str], None], error: Any, status: int, content: bytes
) -> None:
    with answering(status, content, content_type="application/json") as url, pytest.raises(error) as told:
        way(url)
    assert "AKIA" not in str(told.value)
    assert status == 200 or str(status) in str(told.value)


def test_an_answer_without_end_is_cut_at_its_bound() -> None:
    with answering(200, bytes(1 << 20)) as url, httpx.Client() as client:
        with pytest.raises(AnswerError, match="has more than 65,536 bytes"):
            ask(client, "GET", url, most=65536, seconds=5)
        assert len(ask(client, "GET", url, most=1 << 20, seconds=30).content) == 1 << 20


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("http://me:secret@events:8090/v1", "http://…@events:8090/v1"),
        ("no answer at https://token@a.b and s3://k:v@bucket/x", "no answer at https://…@a.b and s3://…@bucket/x"),
        ("HTTP://me:se:c/ret@events", "HTTP://me:se:c/ret@events"),
        ("http://events/v1/users@home", "http://events/v1/users@home"),
    ],
)
def test_users_and_passwords_are_taken_out_of_urls(text: str, shown: str) -> None:
    assert redacted(text) == shown


def test_a_collectors_address_with_a_password_is_refused_without_it() -> None:
    with pytest.raises(EvidenceError, match="has a user or password") as told:
        CollectorEvidence("http://me:hunter2@collector:8090")
    assert "hunter2" not in str(told.value)
