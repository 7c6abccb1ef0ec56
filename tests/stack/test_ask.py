"""What the transformer refuses is told in its own sentence, and what is no transformer is said to be none."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from serving.stack import ask
from serving.stack.errors import StackError

ASKED = ask.Question("1", ["2"], {})


class Answer(BaseHTTPRequestHandler):
    status, body = 200, b""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(self.status)
        self.send_header("content-length", str(len(self.body)))
        self.end_headers()
        self.wfile.write(self.body)

    def log_message(self, *words: object) -> None:
        pass


@pytest.fixture
def address() -> Iterator[str]:
    server = HTTPServer(("127.0.0.1", 0), Answer)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        (400, b'{"error": "user_id: expected text"}', r"predict: user_id: expected text \(HTTP 400\)$"),
        (503, b'{"error": {"code": "busy", "message": "Triton is away"}}', r"Triton is away \(HTTP 503\)$"),
        (404, b"<html>nothing</html>", r"it answered 404 Not Found, and not as a transformer does \(HTTP 404\)$"),
        (500, b"Traceback ...", "it answered 500 Internal Server Error, and not as a transformer does"),
    ],
)
def test_a_refusal_is_a_sentence(
    address: str, monkeypatch: pytest.MonkeyPatch, status: int, body: bytes, said: str
) -> None:
    monkeypatch.setattr(Answer, "status", status)
    monkeypatch.setattr(Answer, "body", body)
    with pytest.raises(StackError, match=said):
        ask.over_rest(address, "ranker", ASKED)


def test_nobody_at_the_address_names_the_command_that_tells() -> None:
    with pytest.raises(StackError, match="Connection refused; does the stack run\\? sightline status"):
        ask.over_rest("127.0.0.1:9", "ranker", ASKED)
