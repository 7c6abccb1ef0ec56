"""Exposures into the project's own collector, which is killed and started again meanwhile."""

import signal
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from serving.rollout.collector.schema import FILE
from serving.transformer.exposures import recorder as module
from serving.transformer.exposures.recorder import open_recorder
from tests.collector.process import TOKENS, Process, free_port


async def test_what_is_written_is_in_the_collectors_database(
    kit: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PAUSES", (0.05,) * 400)
    told = kit.told
    environ = {"SIGHTLINE_COLLECTOR_TOKEN": TOKENS["exposures"]}
    process = Process(tmp_path, free_port()).start()
    uri = f"{process.url}/v1/exposures"
    recorder = open_recorder(uri, queue=5000, environment=environ, count=told.count, waiting=told.waiting)
    try:
        async with kit.running(recorder):
            for number in range(600):
                recorder.record(kit.exposure(number, time=kit.now() - number))
            await kit.until(lambda: told.results["written"] >= 500, seconds=60)
            process.end(signal.SIGKILL)
            for number in range(600, 1200):
                recorder.record(kit.exposure(number, time=kit.now() - number % 100))
            process.start()
            await kit.until(lambda: told.results["written"] == 1200, seconds=60)
            recorder.record(kit.exposure(1200, time=1.0))  # older than the collector keeps
            recorder.record(kit.exposure(1201, time=kit.now()))
            await kit.until(lambda: told.results["failed"] == 1, seconds=60)
    finally:
        process.end(signal.SIGKILL)
    assert told.results == {"queued": 1202, "written": 1201, "failed": 1}
    with closing(sqlite3.connect(process.database / FILE)) as connection:
        assert connection.execute("SELECT count(*), count(DISTINCT id) FROM exposures").fetchone() == (1201, 1201)
