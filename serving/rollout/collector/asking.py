"""Evidence is computed by a process of its own: its work on millions of rows never holds up the taking of events.

The process gets a question as JSON, reads one snapshot of the database, and ends. One runs at a time.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import orjson

from serving.rollout.collector.faults import REFUSED, RequestError

_MODULE = "serving.rollout.collector.answer"
_WAITING = 8  # questions that may wait for their turn
_RETRY_AFTER = 10


class Asking:
    """Asks the answering process. A question that takes longer than `seconds` is ended."""

    def __init__(self, database: Path, seconds: float) -> None:
        self._database, self._seconds = database, seconds
        self._turn = asyncio.Lock()
        self._waiting = 0

    async def ask(self, question: str, body: bytes) -> bytes:
        """The answer, as JSON. Raises RequestError."""
        async with self.alone(), _process(self._database, question) as process:
            try:
                async with asyncio.timeout(self._seconds):
                    out, err = await process.communicate(body)
            except TimeoutError as cause:
                message = f"took longer than {self._seconds:g} s; see --evidence-seconds"
                raise RequestError(503, question, message, _RETRY_AFTER) from cause
        if process.returncode == REFUSED:
            raise _refusal(out)
        if process.returncode != 0:
            last = (err.decode(errors="replace").strip().splitlines() or ["nothing was said"])[-1]
            message = f"could not be computed (exit {process.returncode}): {last[:300]}"
            raise RequestError(503, question, message, _RETRY_AFTER)
        return out

    @asynccontextmanager
    async def alone(self) -> AsyncIterator[None]:
        """While nobody reads. Raises RequestError when too many wait."""
        if self._waiting >= _WAITING:
            raise RequestError(503, "evidence", f"{self._waiting} questions wait already", _RETRY_AFTER)
        self._waiting += 1
        try:
            async with self._turn:
                yield
        finally:
            self._waiting -= 1


@asynccontextmanager
async def _process(database: Path, question: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """The process, which does not outlive the block."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        _MODULE,
        str(database),
        question,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


def _refusal(out: bytes) -> RequestError:
    told = orjson.loads(out)
    return RequestError(told["status"], told["field"], told["message"])
