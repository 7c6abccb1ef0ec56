"""A server that is spoken to byte by byte."""

from collections.abc import Iterator

import pytest

from serving.http_server import HeadLimits
from tests.http_server.raw_http import echo, serving


@pytest.fixture(scope="session")
def port() -> Iterator[int]:
    """Of an echo with small limits."""
    with serving(echo, HeadLimits(bytes=4096, fields=20, seconds=0.3)) as listening:
        yield listening
