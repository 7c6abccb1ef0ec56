"""Takes exposures from the ranking path and hands them on in batches, in a thread of its own.

`record` puts an exposure into a bounded queue and returns: a sink that is slow, full or away costs exposures, which are
counted, and never a ranking.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor

from models.experiments.events import Exposure
from serving.transformer.exposures.address import CollectorAddress, FolderAddress, StreamAddress, parse
from serving.transformer.exposures.collector_sink import CollectorSink
from serving.transformer.exposures.folder_sink import FolderSink
from serving.transformer.exposures.sink import ExposureError, Line, Sink, SinkError
from serving.transformer.exposures.stream_sink import StreamSink

log = logging.getLogger("sightline.exposures")

BATCH = 500
LINGER_SECONDS = 0.2
"""A queue with less than a batch waits so long: a file is synced, a collector called a few times a second."""
PAUSES = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0)
"""Seconds between the tries of one batch: it is given up after half a minute."""
FLUSH_SECONDS = 5.0
"""What waits when `run` is cancelled is written within this time, or counted as failed."""

Count = Callable[[str, int], None]
Waiting = Callable[[int], None]


class Recorder:
    """A queue in front of a sink. `count` and `waiting` are called from the loop and from the writing thread."""

    def __init__(
        self,
        sink: Sink,
        *,
        queue: int,
        count: Count,
        waiting: Waiting,
        clock: Callable[[], float] = time.monotonic,
        flush_seconds: float = FLUSH_SECONDS,
    ) -> None:
        self._sink, self._limit, self._count, self._waiting = sink, queue, count, waiting
        self._clock, self._flush_seconds = clock, flush_seconds
        self._queue: deque[Line] = deque()  # its ends may be used by two threads at once
        self._stop = threading.Event()
        self._deadline = float("inf")
        self._complained = False

    def record(self, exposure: Exposure) -> None:
        """Queue an exposure; a full queue drops it. Never blocks, never raises."""
        if len(self._queue) >= self._limit or self._stop.is_set():
            self._count("dropped", 1)
            return
        try:
            line = Line(exposure.id, exposure.time, exposure.model_dump_json().encode())
        except ValueError as error:  # a text that is no UTF-8
            self._complain(f"an exposure cannot be written as JSON: {error}")
            self._count("failed", 1)
            return
        self._queue.append(line)
        self._count("queued", 1)
        self._waiting(len(self._queue))

    async def run(self) -> None:
        """Hand on what is queued until cancelled; then what waits, within a bound, and close the sink."""
        executor = ThreadPoolExecutor(1, thread_name_prefix="exposures")
        work = asyncio.get_running_loop().run_in_executor(executor, self._work)
        try:
            await asyncio.shield(work)
        finally:
            self._deadline = self._clock() + self._flush_seconds
            self._stop.set()
            await asyncio.wait((work,))
            executor.shutdown(wait=False)

    def _work(self) -> None:
        while not (self._stop.is_set() and not self._queue):
            batch = [self._queue.popleft() for _ in range(min(BATCH, len(self._queue)))]
            self._waiting(len(self._queue))
            if batch:
                self._deliver(batch)
            else:
                self._attempt(self._sink.tend)
            if len(batch) < BATCH:
                self._stop.wait(LINGER_SECONDS)
        self._attempt(self._sink.close)

    def _deliver(self, batch: list[Line]) -> None:
        """Try until it is taken or given up; a batch counts once."""
        for pause in (*PAUSES, 0.0):
            if self._clock() >= self._deadline:
                break
            try:
                arrived = self._sink.write(batch)
            except SinkError as error:
                self._complain(str(error))
                if not error.again:
                    break
                self._rest(max(pause, error.pause))
            else:
                self._works()
                self._counted(arrived, len(batch) - arrived)
                return
        self._counted(0, len(batch))

    def _counted(self, written: int, failed: int) -> None:
        for result, number in (("written", written), ("failed", failed)):
            if number:
                self._count(result, number)

    def _rest(self, seconds: float) -> None:
        """Wait; while stopping, only as long as there is time."""
        if not self._stop.wait(seconds):
            return
        time.sleep(max(0.0, min(PAUSES[0], self._deadline - self._clock())))

    def _attempt(self, deed: Callable[[], None]) -> None:
        try:
            deed()
        except SinkError as error:
            self._complain(str(error))

    def _works(self) -> None:
        if self._complained:
            log.info("exposures are written again")
            self._complained = False

    def _complain(self, message: str) -> None:
        """Say it once, until it works again: the counters say how much was lost."""
        if not self._complained:
            log.warning("%s", message)
        self._complained = True


def open_recorder(uri: str, *, queue: int, environment: Mapping[str, str], count: Count, waiting: Waiting) -> Recorder:
    """A recorder for an address. Nothing is connected: that is done by `run`, and again whenever it is lost.

    Args:
        uri: file:///folder, redis://host:port/number?stream=name or http://host:port/v1/exposures.
        queue: exposures that may wait, at least 1; about 1 kB each.
        environment: has SIGHTLINE_STORE_PASSWORD (USERNAME, CA_FILE) for Redis, SIGHTLINE_COLLECTOR_TOKEN for a
            collector, where they need it.
        count: told of a result (queued, dropped, written or failed) and of how many exposures; any thread.
        waiting: told how many exposures wait; any thread.

    Raises:
        ExposureError: the address is none, or the queue has no room.
    """
    if queue < 1:
        raise ExposureError(f"queue is {queue}; expected room for at least 1 exposure")
    return Recorder(_sink(uri, environment), queue=queue, count=count, waiting=waiting)


def _sink(uri: str, environment: Mapping[str, str]) -> Sink:
    match parse(uri):
        case FolderAddress() as address:
            return FolderSink(address.folder, seconds=address.seconds, size=address.bytes)
        case StreamAddress() as address:
            return StreamSink(address.redis, address.stream, address.maxlen, environment)
        case CollectorAddress() as address:
            return CollectorSink(address.url, environment)
