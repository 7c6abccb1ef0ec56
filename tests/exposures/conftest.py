"""Exposures, a count of what became of them, and a recorder that runs beside the test."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest

from models.experiments.events import Exposure
from serving.transformer.exposures.recorder import Recorder
from serving.transformer.exposures.sink import Line, Sink


def exposure(number: int, **changed: object) -> Exposure:
    values: dict[str, object] = {
        "id": f"event-{number}",
        "time": 1_700_000_000.0 + number,
        "experiment": "captions",
        "uid": "0b7c",
        "revision": 1,
        "user": f"{number:032x}",
        "arm": "candidate",
        "served": "candidate",
        "model": "ranker",
        "bundle_id": "sha256:" + "0" * 64,
        "contract_digest": "sha256:" + "1" * 64,
        "candidates": 100,
        "captioned": 90,
        "seconds": 0.01,
        "items": ("242", "302"),
        "scores": (0.9, 0.25),
    }
    return Exposure.model_validate(values | changed)


@dataclass
class Told:
    """What a recorder counted, and the largest number that waited."""

    results: Counter[str] = field(default_factory=Counter)
    most: int = 0
    waits: int = 0

    def count(self, result: str, number: int) -> None:
        self.results[result] += number

    def waiting(self, number: int) -> None:
        self.waits, self.most = number, max(self.most, number)


class Kit:
    """What the tests of exposures share."""

    def __init__(self) -> None:
        self.told = Told()
        self.exposure = exposure
        self.now = time.time

    def lines(self, *numbers: int) -> list[Line]:
        made = [exposure(number) for number in numbers]
        return [Line(each.id, each.time, each.model_dump_json().encode()) for each in made]

    def recorder(self, sink: Sink, queue: int = 10_000, flush_seconds: float = 5.0) -> Recorder:
        told = self.told
        return Recorder(sink, queue=queue, count=told.count, waiting=told.waiting, flush_seconds=flush_seconds)

    @asynccontextmanager
    async def running(self, recorder: Recorder) -> AsyncIterator[None]:
        task = asyncio.create_task(recorder.run())
        await asyncio.sleep(0)  # a task that is cancelled before it began does nothing
        try:
            yield
        finally:
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    async def until(self, happened: Callable[[], bool], seconds: float = 20.0) -> None:
        async with asyncio.timeout(seconds):
            while not happened():
                await asyncio.sleep(0.01)


@pytest.fixture
def kit() -> Kit:
    return Kit()
