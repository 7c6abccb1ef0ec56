"""The transformer's own fixtures (a real transformer before a real Triton), and servers that err on purpose."""

import importlib.util
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest
import uvicorn

_PLACE = Path(__file__).parents[1] / "transformer" / "conftest.py"
_SPEC = importlib.util.spec_from_file_location("transformer_fixtures", _PLACE)
assert _SPEC is not None
assert _SPEC.loader is not None
_FIXTURES = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(_FIXTURES)

tokenizer_json, tokenizer, contract = _FIXTURES.tokenizer_json, _FIXTURES.tokenizer, _FIXTURES.contract
with_captions, ids_only, rows = _FIXTURES.with_captions, _FIXTURES.ids_only, _FIXTURES.rows
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
