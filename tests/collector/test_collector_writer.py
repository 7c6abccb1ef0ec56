"""The thread that writes, with faults that no real disk gives on demand."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from serving.rollout.collector.faults import StoreError
from serving.rollout.collector.ledger import Ledger
from serving.rollout.collector.metrics import Metrics
from serving.rollout.collector.schema import open_for_writing
from serving.rollout.collector.writer import Writer
from tests.collector.process import KEY


class Faulty:
    """A connection whose statement fails once, as a disk would make it."""

    def __init__(self, real: sqlite3.Connection) -> None:
        self.real = real
        self.faults: dict[str, str] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self.real, name)

    def execute(self, sql: str, *values: Any) -> Any:
        if name := self.faults.pop(sql, ""):
            error = sqlite3.OperationalError("disk I/O error")
            error.sqlite_errorname = name
            raise error
        return self.real.execute(sql, *values)


@pytest.fixture
async def made(tmp_path: Path) -> AsyncIterator[tuple[Writer, Faulty]]:
    connection = Faulty(open_for_writing(tmp_path, KEY.encode()))
    ledger = Ledger(connection.real, late_seconds=60, now=lambda: 1e9)
    writer = Writer(connection, ledger, Metrics(CollectorRegistry()))  # type: ignore[arg-type]
    writer.start()
    yield writer, connection
    await asyncio.to_thread(writer.stop)


def word(text: str) -> Callable[[Ledger], int]:
    """Store a word as an event that has it does; gives its number."""

    def store(ledger: Ledger) -> int:
        number = ledger._words.number("event", text)
        ledger._words.used([number])
        ledger._words.settle()
        return number

    return store


async def test_a_commit_that_fails_is_told_to_all_who_shared_it_and_the_next_one_works(made: Any) -> None:
    writer, connection = made
    connection.faults["COMMIT"] = "SQLITE_FULL"
    results = await asyncio.gather(writer.run(word("a")), return_exceptions=True)
    assert isinstance(results[0], StoreError)
    assert "SQLITE_FULL" in writer.failing
    assert writer.alive
    assert not connection.real.in_transaction
    number = await writer.run(word("a"))  # the number that was rolled back is not used from memory
    assert connection.real.execute("SELECT word FROM words WHERE number = ?", (number,)).fetchone() == ("a",)
    assert writer.failing is None


async def test_a_fsync_that_fails_ends_the_writing(made: Any) -> None:
    writer, connection = made
    connection.faults["COMMIT"] = "SQLITE_IOERR_FSYNC"
    with pytest.raises(StoreError, match="SQLITE_IOERR_FSYNC"):
        await writer.run(word("a"))
    for _ in range(3):
        with pytest.raises(StoreError, match="not written any more"):
            await writer.run(word("b"))
    assert not writer.alive
    assert connection.real.execute("SELECT count(*) FROM words").fetchone() == (0,)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
async def test_nobody_waits_for_ever_when_the_thread_dies_of_a_fault_in_the_code(made: Any) -> None:
    writer, _ = made

    def wrong(ledger: Ledger) -> None:
        raise ZeroDivisionError

    results = await asyncio.gather(
        writer.run(word("a")), writer.run(wrong), writer.run(word("b")), return_exceptions=True
    )
    assert any(isinstance(result, StoreError) for result in results)
    with pytest.raises(StoreError):
        await writer.run(word("c"))
    assert not writer.alive


async def test_what_nobody_waits_for_any_more_is_done_all_the_same(made: Any) -> None:
    writer, connection = made
    waiting = asyncio.create_task(writer.run(word("left")))
    await asyncio.sleep(0)
    waiting.cancel()
    await writer.run(word("next"))
    assert connection.real.execute("SELECT count(*) FROM words").fetchone() == (2,)
