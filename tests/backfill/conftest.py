"""A small catalogue, a captioning service that can misbehave, and the Job as a process."""

import base64
import hashlib
import io
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pandas as pd
import pytest
import s3fs
from PIL import Image

from models.captioner.presets import TINY
from serving.backfill.run import main

ITEMS = 40


@dataclass
class FakeCaptioner:
    """Captions a picture by the colour in its corner. `before` runs before each answer and may change it."""

    captioner: str = "fake@1"
    seen: list[str] = field(default_factory=list)
    refuse: set[str] = field(default_factory=set)
    before: Callable[["FakeCaptioner"], int] = lambda _: 200
    url: str = ""

    def answer(self, images: list[dict[str, str]]) -> dict[str, Any]:
        captions = []
        for image in images:
            if image["id"] != "grey":
                self.seen.append(image["id"])
            if image["id"] in self.refuse:
                error = {"code": "undecodable_image", "message": "broken"}
                captions.append({"id": image["id"], "error": error})
                continue
            corner = Image.open(io.BytesIO(base64.b64decode(image["data"]))).convert("RGB").getpixel((0, 0))
            captions.append({"id": image["id"], "caption": f"a corner of {corner[0]} red", "finish": "stop"})
        return {"captions": captions, "captioner": self.captioner, "prompt": "p"}


@pytest.fixture
def captioner() -> Iterator[FakeCaptioner]:
    fake = FakeCaptioner()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            status = fake.before(fake)
            content = json.dumps(fake.answer(body["images"]) if status == 200 else {}).encode()
            self.send_response(status)
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    fake.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield fake
    server.shutdown()
    server.server_close()
    thread.join()


def paint(path: Path, red: int) -> None:
    Image.new("RGB", (20, 20), (red, 0, 0)).save(path)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """40 items with pictures but the last, 10 users who saw all of them."""
    folder = tmp_path / "data"
    (folder / "images").mkdir(parents=True)
    for i in range(ITEMS - 1):
        paint(folder / "images" / f"{i}.png", i)
    images = [f"images/{i}.png" for i in range(ITEMS - 1)] + [None]
    pd.DataFrame(
        {"item_id": [f"i{i}" for i in range(ITEMS)], "image": images, "year": range(2000, 2000 + ITEMS)}
    ).to_parquet(folder / "items.parquet")
    pd.DataFrame({"user_id": [f"u{u}" for u in range(10)], "town": ["a", "b"] * 5}).to_parquet(folder / "users.parquet")
    rows = [(f"u{u}", f"i{i}", float(i % 2), 1_700_000_000 + i) for u in range(10) for i in range(ITEMS)]
    pd.DataFrame(rows, columns=["user_id", "item_id", "label", "timestamp"]).to_parquet(folder / "interactions.parquet")
    return folder


@dataclass(frozen=True)
class Ended:
    """How the Job ended, and what it said."""

    returncode: int
    stderr: str


@dataclass
class Job:
    """The Job of this test's catalogue, captioner, store and output."""

    data: Path
    out: Path
    store: str
    captioner: FakeCaptioner

    def command(self, *more: str) -> list[str]:
        arguments = ["--data", str(self.data), "--captioner", self.captioner.url, "--store", self.store]
        given = ["--out", str(self.out), "--batch", "4", "--wait-seconds", "20", *more]
        return [sys.executable, "-m", "serving.backfill.run", *arguments, *given]

    @property
    def environ(self) -> dict[str, str]:
        return {**os.environ, "SIGHTLINE_TERMINATION_LOG": str(self.out.parent / "termination")}

    def start(self, *more: str, **variables: str) -> "subprocess.Popen[str]":
        environ = {**self.environ, **variables}
        return subprocess.Popen(self.command(*more), env=environ, stderr=subprocess.PIPE, text=True)

    def run(self, *more: str, **variables: str) -> Ended:
        """To its end, in this process: starting one takes seconds."""
        variables["SIGHTLINE_TERMINATION_LOG"] = self.environ["SIGHTLINE_TERMINATION_LOG"]
        handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
        said = io.StringIO()
        try:
            with redirect_stderr(said), patch.dict(os.environ, variables):
                code = main(self.command(*more)[3:])
        except SystemExit as usage:
            code = int(str(usage.code))
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)
        return Ended(code, said.getvalue())

    def message(self) -> dict[str, Any]:
        document: dict[str, Any] = json.loads((self.out.parent / "termination").read_text())
        return document

    def captions(self, name: str = "captions-0-of-1.parquet") -> dict[str, str | None]:
        table = pd.read_parquet(self.out / name)
        return dict(zip(table["item_id"], table["caption"], strict=True))


@pytest.fixture
def job(tmp_path: Path, data: Path, captioner: FakeCaptioner) -> Job:
    return Job(data, tmp_path / "out", str(tmp_path / "store"), captioner)


@pytest.fixture
def repaint() -> Callable[[Path, int], None]:
    return paint


@pytest.fixture(scope="session")
def tokenizer_sha256() -> str:
    return hashlib.sha256((TINY / "tokenizer.json").read_bytes()).hexdigest()


@pytest.fixture
def bucket(s3_files: s3fs.S3FileSystem) -> str:
    """An S3 bucket on loopback."""
    s3_files.makedirs("shop", exist_ok=True)
    return "s3://shop"
