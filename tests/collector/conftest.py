"""Collectors for tests; what they are sent is in sent.py."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.collector.process import Process, free_port


@pytest.fixture
def collector(tmp_path: Path) -> Iterator[Callable[..., Process]]:
    """Start collectors; all end with the test."""
    started: list[Process] = []

    def start(*options: str, **environ: str) -> Process:
        process = Process(tmp_path, free_port(), options, environ)
        started.append(process)
        return process.start()

    yield start
    for each in started:
        if each.process is not None and each.process.poll() is None:
            each.process.kill()
            each.process.wait()
