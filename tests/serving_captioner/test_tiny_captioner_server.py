"""`python -m serving.captioner.run` with the tiny model, as a user starts it, and everything that may be sent to it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from serving.captioner.client import CaptionClient
from serving.captioner.warden import of_run
from tests.http_server.raw_http import ask, parts

pytestmark = pytest.mark.timeout(300)  # Ray starts six processes; on a busy machine that takes minutes
ROOT = Path(__file__).parents[2]
Good = dict[str, bytes]
Bad = dict[str, tuple[bytes, int, str]]


class Server:
    def __init__(self, folder: Path, log: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        self.folder = folder
        self.log = log
        command = f"-m serving.captioner.run --port {self.port} --preset tiny --temp-dir {folder}".split()
        with log.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, *command], cwd=ROOT, stdout=output, stderr=subprocess.STDOUT
            )
        self.url = f"http://127.0.0.1:{self.port}"

    def wait(self) -> None:
        deadline = time.monotonic() + 240
        while b"captioner: ready" not in self.log.read_bytes():
            if self.process.poll() is not None or time.monotonic() > deadline:
                pytest.fail(f"the server did not start: {self.log.read_text()[-3000:]}")
            time.sleep(0.2)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = Path("/tmp") / f"tiny{os.getpid()}"  # a socket's path must be short, pytest's folders are not
    running = Server(folder, tmp_path_factory.mktemp("tiny") / "log")
    try:
        running.wait()
        yield running
    finally:
        running.process.kill()
        running.process.wait()
        shutil.rmtree(folder, ignore_errors=True)


def test_every_good_picture_gets_a_caption_with_its_origin(server: Server, good_pictures: Good) -> None:
    results = CaptionClient(server.url).caption(list(good_pictures.items()))
    assert [result.id for result in results] == list(good_pictures)
    for result in results:
        assert result.error is None, result
        assert result.text, result
        assert result.finish in ("stop", "length")
        assert result.captioner.startswith("tiny@")
        assert result.prompt


def test_every_bad_picture_is_a_4xx_and_the_server_stays_up(server: Server, bad_pictures: Bad) -> None:
    with httpx.Client(base_url=server.url, timeout=60) as http:
        for name, (data, status, code) in bad_pictures.items():
            if data:
                response = http.post("/v1/captions", content=data, headers={"Content-Type": "image/png"})
                assert (response.status_code, response.json()["error"]["code"]) == (status, code), name
        assert http.get("/health").json() == {"status": "ok", "replicas": 1}


def test_good_and_bad_pictures_in_one_request_do_not_touch_each_other(
    server: Server, good_pictures: Good, bad_pictures: Bad
) -> None:
    alone = CaptionClient(server.url, images_per_request=1).caption([("png", good_pictures["png"])])
    mixed = [*[(name, data) for name, (data, _, _) in bad_pictures.items()][:10], ("png", good_pictures["png"])]
    results = CaptionClient(server.url).caption(mixed)
    assert all(result.error is not None for result in results[:-1])
    assert results[-1].text == alone[0].text


def test_captions_are_the_models_own(server: Server, good_pictures: Good) -> None:
    """What comes over HTTP is what the model says in process about the admitted picture."""
    from models.captioner.llava import LlavaCaptioner
    from models.captioner.presets import preset
    from serving.captioner.admission import admit
    from serving.captioner.settings import CaptionerSettings

    model = LlavaCaptioner.load(preset("tiny"))
    limits = CaptionerSettings().limits()
    direct = model.caption([admit(data, limits).image for data in good_pictures.values()])
    results = CaptionClient(server.url).caption(list(good_pictures.items()))
    assert [result.text for result in results] == [caption.text for caption in direct]
    assert {(result.captioner, result.prompt) for result in results} == {
        (model.provenance.captioner, model.provenance.prompt)
    }


OFFER = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQCAAAA\r\n"


def sent(server: Server, head: bytes, body: bytes = b"") -> tuple[int, dict[str, Any]]:
    """What Ray's proxy answers to these bytes; always JSON."""
    status, headers, content = parts(ask(server.port, head.replace(b"\n", b"\r\n") + body))
    assert headers["content-type"] == "application/json"
    return status, json.loads(content)


def test_a_client_that_offers_http_2_gets_its_caption(server: Server, good_pictures: Good) -> None:
    """As curl --http2 and Java's client do; httptools would lose the body."""
    data = next(iter(good_pictures.values()))
    head = b"POST /v1/captions HTTP/1.1\r\nHost: here\r\nContent-Type: image/png\r\n" + OFFER
    answer = ask(server.port, head + b"Content-Length: %d\r\n\r\n" % len(data) + data)
    status, _, content = parts(answer)
    assert (status, "captions" in json.loads(content)) == (200, True), answer


@pytest.mark.parametrize(
    ("head", "body", "status"),
    [
        (b"hello\n\n", b"", 400),
        (b"GET / HTTP/1.1\nHost: a\nX: " + b"a" * 70_000 + b"\n\n", b"", 431),
        (b"GET / HTTP/1.1\nHost: a\n" + b"A: b\n" * 200 + b"\n", b"", 431),
        (b"GET /health HTTP/1.1\nHost: a\nX:", b"", 408),
        (b"POST /v1/captions HTTP/1.1\nHost: a\nContent-Length: many\n\n", b"", 400),
        (b"GET /nowhere HTTP/1.1\nHost: a\n\n", b"", 404),
        (b"BREW /health HTTP/1.1\nHost: a\n\n", b"", 405),
        (b"POST /v1/captions HTTP/1.1\nHost: a\nContent-Length: 5\n\n", b"hello", 415),
        *(
            (
                b"POST /v1/captions HTTP/1.1\nHost: a\nContent-Type: application/json\nContent-Length: %d\n\n"
                % len(body),
                body,
                400,
            )
            for body in (b"[" * 100_000, b"NaN", b'"\xff"', b'{"images": 1' + b"0" * 5000 + b"}", b"null")
        ),
    ],
)
def test_what_cannot_be_captioned_is_refused_in_json_by_the_proxy_too(
    server: Server, head: bytes, body: bytes, status: int
) -> None:
    found, document = sent(server, head, body)
    assert found == status
    assert document["error"].keys() == {"code", "field", "message"}


def test_sigterm_ends_it_with_exit_code_0_and_no_process_left(server: Server) -> None:
    """The last test: it ends the server."""
    server.process.send_signal(signal.SIGTERM)
    assert server.process.wait(60) == 0
    assert server.log.read_text().rstrip().endswith("captioner: stopped")
    assert of_run("no mark", server.folder) == []
