"""The one thread that writes: what waits at the same time shares a transaction and its fsync."""

from __future__ import annotations

import asyncio
import logging
import queue
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from serving.rollout.collector.faults import StoreError
from serving.rollout.collector.ledger import Ledger
from serving.rollout.collector.metrics import Metrics

log = logging.getLogger("sightline.collector")
Result = TypeVar("Result")
_LARGEST_GROUP = 64  # requests in one transaction
_UNKNOWN_STATE = "SQLITE_IOERR_FSYNC"


@dataclass(frozen=True, slots=True)
class _Job:
    """Something to do, in a shared transaction, or `alone` outside of any."""

    work: Callable[[Any], Any]
    answer: asyncio.Future[Any]
    alone: bool = False


class Writer:
    """Runs jobs on the database. A job's result is given only when its transaction is on disk."""

    def __init__(self, connection: sqlite3.Connection, ledger: Ledger, metrics: Metrics) -> None:
        self._connection, self._ledger, self._metrics = connection, ledger, metrics
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._group: Sequence[_Job] = ()
        self._lost = self._ended = False
        self._thread = threading.Thread(target=self._run, name="writer")
        self.failing: str | None = None
        """Why the last transaction failed; None when it did not."""
        self._show_rows()

    @property
    def alive(self) -> bool:
        """Whether jobs are still done. A fsync that failed ends it: what the disk holds is known after a restart."""
        return not self._ended

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """Finish what waits, end the thread, fold the WAL into the file and close it."""
        self._jobs.put(None)
        self._thread.join()
        self._connection.close()

    async def run(self, work: Callable[[Ledger], Result]) -> Result:
        """Do something within a transaction; it may be shared with others. Raises StoreError: nothing was done."""
        return await self._submit(work, alone=False)

    async def clean(self) -> bool:
        """Fold the WAL into the file and cut it to nothing; False if a reader was in the way. Raises StoreError."""
        return await self._submit(_fold, alone=True)

    async def _submit(self, work: Callable[[Any], Result], *, alone: bool) -> Result:
        if not self.alive:
            raise StoreError(f"the database is not written any more: {self.failing}; the process must be started again")
        answer: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._jobs.put(_Job(work, answer, alone))
        if self._ended:  # since it was looked at
            self._refuse_rest()
        return await answer

    def _run(self) -> None:
        try:
            while not self._lost and (group := self._next_group()) is not None:
                self._group = group
                self._do(group)
        finally:
            self._ended = True
            self._refuse_rest()  # nobody waits for ever, whatever ended the thread

    def _next_group(self) -> list[_Job] | None:
        """Wait for a job, and take with it what waits already."""
        first = self._jobs.get()
        if first is None:
            return None
        group = [first]
        while not group[-1].alone and len(group) < _LARGEST_GROUP and not self._jobs.empty():
            job = self._jobs.get()
            if job is None:
                self._jobs.put(None)
                break
            group.append(job)
        return group

    def _do(self, group: Sequence[_Job]) -> None:
        for shared in ([job for job in group if not job.alone], [job for job in group if job.alone]):
            if shared:
                self._do_together(shared, alone=shared[0].alone)

    def _do_together(self, jobs: Sequence[_Job], *, alone: bool) -> None:
        try:
            results = [job.work(self._connection) for job in jobs] if alone else self._transaction(jobs)
        except sqlite3.Error as error:
            self._failed(jobs, error)
            return
        self.failing = None
        for job, result in zip(jobs, results, strict=True):
            _settle(job, result)

    def _transaction(self, jobs: Sequence[_Job]) -> list[Any]:
        began = time.perf_counter()
        self._connection.execute("BEGIN IMMEDIATE")
        results = [job.work(self._ledger) for job in jobs]
        self._connection.execute("COMMIT")
        self._metrics.commit_seconds.observe(time.perf_counter() - began)
        self._show_rows()
        return results

    def _failed(self, jobs: Sequence[_Job], error: sqlite3.Error) -> None:
        self._metrics.commit_failures.inc()
        name = getattr(error, "sqlite_errorname", type(error).__name__)
        if self.failing is None:
            log.error("the database cannot be written: %s (%s)", error, name)
        self.failing = f"{error} ({name})"
        if self._connection.in_transaction:
            self._connection.execute("ROLLBACK")
        for job in jobs:
            _fail(job, f"the database cannot be written: {self.failing}")
        self._lost = name == _UNKNOWN_STATE
        self._ledger.rolled_back()

    def _refuse_rest(self) -> None:
        for job in self._group:
            _fail(job, f"the database is not written any more: {self.failing}")
        while not self._jobs.empty():
            if (waiting := self._jobs.get()) is not None:
                _fail(waiting, f"the database is not written any more: {self.failing}")

    def _show_rows(self) -> None:
        for kind, count in self._ledger.rows.items():
            self._metrics.rows.labels(kind.removesuffix("s")).set(count)
        for field, count in self._ledger.names.items():
            self._metrics.names.labels(field).set(count)


def _fold(connection: sqlite3.Connection) -> bool:
    (busy, _, _) = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    return not busy


def _fail(job: _Job, message: str) -> None:
    _settle(job, StoreError(message))


def _settle(job: _Job, result: Any) -> None:
    """Give the answer in its loop's thread; one that nobody waits for any more is dropped."""

    def give() -> None:
        if job.answer.done():
            return
        if isinstance(result, StoreError):
            job.answer.set_exception(result)
        else:
            job.answer.set_result(result)

    job.answer.get_loop().call_soon_threadsafe(give)
