"""`sightline caption` of pictures: wherever they are, and what the captioner is for."""

import base64
import io
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner

from models.captioner.presets import PRESETS, preset
from serving.cli.main import app


def png() -> bytes:
    buffer = io.BytesIO()
    Image.linear_gradient("L").convert("RGB").save(buffer, "PNG")
    return buffer.getvalue()


class Site(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(png())

    def log_message(self, format: str, *args: object) -> None:
        """No line per request."""


@pytest.fixture
def url() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Site)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/a.png"
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_path_a_url_and_a_data_url_are_the_same_picture_and_say_what_reads_it(url: str, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png())
    data_url = "data:image/png;base64," + base64.b64encode(png()).decode()
    words = ["--json", "--root", str(tmp_path / "root"), "caption", str(tmp_path / "a.png"), url, data_url]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    answers = json.loads(done.stdout)
    assert len({answer["text"] for answer in answers}) == 1
    assert [answer["id"] for answer in answers][:2] == [str(tmp_path / "a.png"), url]
    assert len(answers[2]["id"]) == 200
    assert {answer["purpose"] for answer in answers} == {"drawn scenes of this project only; not photographs"}
    assert "not photographs" in done.stderr


def test_an_address_that_cannot_be_read_is_one_sentence(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["--root", str(tmp_path), "caption", "data:image/png;base64,??"])
    assert done.exit_code == 1
    assert "not base64" in str(done.exception)


def test_every_preset_says_what_it_is_for_and_a_strangers_checkpoint_claims_nothing() -> None:
    assert all(each.purpose for each in PRESETS.values())
    assert preset("someone/llava-1.5-13b-hf").purpose == ""
