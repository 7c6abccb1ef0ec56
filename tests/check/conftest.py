"""The transformer's own fixtures (a real transformer before a real Triton), and servers that err on purpose."""

import importlib.util
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from PIL import Image

from serving.captioner.decoding import Decoder
from serving.captioner.fetch import Fetcher
from serving.captioner.gate import Gate
from serving.captioner.ingress import CaptionService, asgi
from serving.captioner.metrics import Meter
from serving.captioner.model import Answer, Batch, Captioned, Pixels
from serving.captioner.settings import CaptionerSettings

_PLACE = Path(__file__).parents[1] / "transformer" / "conftest.py"
_SPEC = importlib.util.spec_from_file_location("transformer_fixtures", _PLACE)
assert _SPEC is not None
assert _SPEC.loader is not None
_FIXTURES = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(_FIXTURES)

tokenizer_json, tokenizer, contract = _FIXTURES.tokenizer_json, _FIXTURES.tokenizer, _FIXTURES.contract
with_captions, ids_only, rows = _FIXTURES.with_captions, _FIXTURES.ids_only, _FIXTURES.rows
narrow = _FIXTURES.narrow
repository, triton, transformer, stack = (
    _FIXTURES.repository,
    _FIXTURES.triton,
    _FIXTURES.transformer,
    _FIXTURES.stack,
)

Serve = Callable[..., AbstractContextManager[str]]


@contextmanager
def _serving(app: Any, port: int = 0, after: float = 0.0) -> Iterator[str]:
    """The ASGI application on a port of this machine, from `after` seconds on; gives its address."""
    listening = socket.socket()
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listening.bind(("127.0.0.1", port))
    if not after:
        listening.listen()  # who asks before the server runs waits for it
    server = uvicorn.Server(uvicorn.Config(app, log_level="error", ws="none", lifespan="off"))

    def run() -> None:
        time.sleep(after)  # bound and not listening: connections are refused until then
        server.run([listening])

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(20)
        listening.close()


@pytest.fixture(scope="session")
def serving() -> Serve:
    return _serving


@dataclass
class Words:
    """A model behind the captioning service's front."""

    text: str = "a red car"

    async def caption(self, images: Sequence[Pixels]) -> Answer:
        return Answer(
            tuple(Captioned(self.text, "stop") for _ in images), "fake@1", "what?", (Batch(len(images), 0.1),)
        )

    async def replicas(self) -> int:
        return 1


def front(words: Words) -> Any:
    settings = CaptionerSettings()
    return asgi(
        CaptionService(
            words,
            Meter("r1"),
            Decoder(settings.limits(), 1),
            Fetcher(frozenset(), False, settings.max_image_bytes, 5.0),
            Gate(settings.max_requests, settings.max_held_bytes, settings.max_held_images, settings.retry_after_s),
            max_request_bytes=settings.max_request_bytes,
            max_images=settings.max_images,
            call_images=settings.max_batch_size,
            body_timeout_s=settings.body_timeout_s,
            request_timeout_s=settings.request_timeout_s,
            retry_after_s=settings.retry_after_s,
        )
    )


@pytest.fixture(scope="session")
def captioner() -> Iterator[str]:
    with _serving(front(Words())) as url:
        yield url


@pytest.fixture(scope="session")
def picture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("pictures") / "car.png"
    Image.new("RGB", (40, 30), (200, 30, 40)).save(path)
    return path


@pytest.fixture(scope="session")
def captioner_saying() -> Callable[[str], Any]:
    """The captioning service's own front before a model that writes one text."""
    return lambda text: front(Words(text))
