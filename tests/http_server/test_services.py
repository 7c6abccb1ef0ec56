"""Whatever is sent to collector and verdict service, the answer is JSON in the service's own form, and never a 500."""

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from serving.http_server import HeadLimits
from serving.rollout.verdict.app import asgi, error_json
from serving.rollout.verdict.faults import UnknownError
from tests.collector.process import TOKENS, Process, free_port, token_of
from tests.http_server.raw_http import ask, exchange, parts, serving

DEEP = b'{"a":' * 100_000
BODIES: dict[str, bytes] = {
    "nothing": b"",
    "no JSON": b"hello",
    "half of it": b'{"a": [1, 2',
    "deep arrays": b"[" * 100_000,
    "deep and closed": b"[" * 50_000 + b"]" * 50_000,
    "deep objects": DEEP + b"1" + b"}" * 100_000,
    "NaN": b"[NaN]",
    "Infinity": b"[Infinity]",
    "a large integer": b"[1" + b"0" * 5000 + b"]",
    "a large exponent": b"[1e999999]",
    "bad UTF-8": b'["\xff\xfe"]',
    "a lone surrogate": b'["\\ud800"]',
    "a byte order mark": b"\xef\xbb\xbf[]",
    "UTF-16": '{"a": 1}'.encode("utf-16"),
    "a NUL": b"\0",
    "null": b"null",
    "a number": b"12",
    "a text": b'"x"',
    "an empty object": b"{}",
    "an array of what it is not": b'[1, null, "a", [], {}]',
    "a name of another type": b'{"name": 3, "namespace": [], "metadata": "x"}',
    "the same key twice": b'{"name": "a", "name": {}}',
    "too much": b"[" + b" " * 40_000_000 + b"]",
}


class NoExperiments:
    def find(self, namespace: str, name: str) -> Any:
        raise UnknownError(f"there is no Experiment {name} in {namespace}")

    def reach(self) -> None: ...


@pytest.fixture(scope="module")
def verdict() -> Iterator[int]:
    app = asgi(NoExperiments(), CollectorRegistry())
    with serving(app, HeadLimits(), error_json) as port:
        yield port


@pytest.fixture(scope="module")
def collector(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    process = Process(tmp_path_factory.mktemp("collector"), free_port()).start()
    yield process.port
    process.end()
    assert "Traceback" not in process.log


def sent(port: int, line: bytes, body: bytes = b"", kind: bytes = b"application/json") -> tuple[int, Any]:
    """Status and error of what is answered; both services' errors are texts or have a message."""
    token = token_of(line.partition(b" ")[2].decode(errors="replace")).encode()
    head = line + b" HTTP/1.1\r\nHost: here\r\nContent-Type: " + kind + b"\r\nAuthorization: Bearer " + token + b"\r\n"
    answer = ask(port, head + b"Content-Length: %d\r\n\r\n" % len(body) + body)
    status, headers, content = parts(answer)
    assert headers["content-type"] == "application/json", answer
    document = json.loads(content)
    if status >= 400 and "refused" not in document:
        assert document.keys() == {"error"}
        text = document["error"] if isinstance(document["error"], str) else document["error"]["message"]
        assert text
        assert "Traceback" not in text
    return status, document


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
@pytest.mark.parametrize("path", ["exposures", "outcomes", "evidence", "quantiles", "users/forget"])
def test_the_collector_refuses_every_body_that_is_none_of_its_own(collector: int, path: str, body: bytes) -> None:
    kind = b"application/cloudevents-batch+json" if path == "exposures" else b"application/json"
    status, _ = sent(collector, b"POST /v1/" + path.encode(), body, kind)
    assert status in ({413} if len(body) > 1_000_000 else {400, 413, 422})


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
@pytest.mark.parametrize("path", ["confirm-promotion", "rollback"])
def test_the_verdict_service_refuses_every_body_that_is_none_of_flaggers(verdict: int, path: str, body: bytes) -> None:
    status, _ = sent(verdict, b"POST /v1/flagger/" + path.encode(), body)
    assert status in ({413} if len(body) > 65_536 else {400})


LINES: list[tuple[bytes, set[int]]] = [
    (b"GET /nowhere", {404}),
    (b"GET /v1/", {404}),
    (b"GET //", {404}),
    (b"GET /%00", {404}),
    (b"GET /%ff%fe", {404}),
    (b"GET /..%2f..%2fetc/passwd", {404}),
    (b"DELETE /health/live", {405}),
    (b"BREW /health/ready", {405}),
    (b"OPTIONS *", {404, 405}),
    (b"CONNECT here:80", {404, 405}),
]


@pytest.mark.parametrize(("line", "statuses"), LINES, ids=[line.decode() for line, _ in LINES])
@pytest.mark.parametrize("service", ["collector", "verdict"])
def test_a_place_that_is_not_there_says_which_are(
    request: pytest.FixtureRequest, service: str, line: bytes, statuses: set[int]
) -> None:
    status, document = sent(request.getfixturevalue(service), line)
    assert status in statuses
    assert "there are" in str(document["error"])


@pytest.mark.parametrize("kind", [b"", b"text/plain", b"application/xml", b"\xff", b"application/json; charset=utf-16"])
def test_the_collector_takes_its_own_content_types_alone(collector: int, kind: bytes) -> None:
    assert sent(collector, b"POST /v1/outcomes", b"hello", kind)[0] in (400, 415)


@pytest.mark.parametrize("service", ["collector", "verdict"])
def test_what_is_no_http_has_the_services_form(request: pytest.FixtureRequest, service: str) -> None:
    shape: Callable[[Any], bool] = lambda error: isinstance(error, str) == (service == "verdict")  # noqa: E731
    for junk, expected in ((b"hello\r\n\r\n", 400), (b"GET / HTTP/1.1\r\nX: " + b"a" * 70_000, 431)):
        status, headers, body = parts(exchange(request.getfixturevalue(service), junk))
        assert (status, headers["content-type"]) == (expected, "application/json")
        assert shape(json.loads(body)["error"])


@pytest.mark.parametrize("service", ["collector", "verdict"])
def test_a_client_that_offers_http_2_is_served(request: pytest.FixtureRequest, service: str) -> None:
    """As `curl --http2` does; what comes back is the answer to the body that it sent."""
    path, body = {
        "collector": (b"/v1/outcomes", b"[]"),
        "verdict": (b"/v1/flagger/rollback", b'{"name": "a", "namespace": "b"}'),
    }[service]
    offer = b"Connection: Upgrade, HTTP2-Settings, close\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQCAAAA\r\n"
    offer += b"Authorization: Bearer " + TOKENS["outcomes"].encode() + b"\r\n"
    request_ = b"POST %b HTTP/1.1\r\nHost: here\r\nContent-Type: application/json\r\nContent-Length: %d\r\n%b\r\n%b"
    answer = exchange(request.getfixturevalue(service), request_ % (path, len(body), offer, body))
    status, _, content = parts(answer)
    if service == "collector":
        assert (status, json.loads(content)["stored"]) == (200, 0)
    else:
        assert (status, json.loads(content)) == (404, {"error": "there is no Experiment a in b"})


def test_the_programs_listen_by_the_shell_that_was_tested() -> None:
    for name in ("collector", "verdict"):
        text = (Path(__file__).parents[2] / "serving" / "rollout" / name / "run.py").read_text()
        assert re.search(r"server_config\(\s*app,\s*error_json", text)
