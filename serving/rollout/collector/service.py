"""What the collector does with a request: plain values in, documents out."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from models.experiments.events import KEY_HEADER, KEY_VARIABLE
from serving.rollout.collector.asking import Asking
from serving.rollout.collector.events import Batch, EventReader, ExposureRow, OutcomeRow
from serving.rollout.collector.faults import Fault, RequestError, StoreError, shown
from serving.rollout.collector.ledger import Added, Ledger
from serving.rollout.collector.metrics import Metrics
from serving.rollout.collector.pace import Pace
from serving.rollout.collector.words import NamesFullError
from serving.rollout.collector.writer import Writer

Result = TypeVar("Result")
FAULTS_TOLD = 20
"""So many refused events are named in an answer; `refused` counts all."""
RETRY_AFTER = 2
_FORGET = 1000  # deleted in one transaction


@dataclass(frozen=True, slots=True)
class Taken:
    """What became of a batch."""

    stored: int
    duplicates: int
    faults: Sequence[Fault]

    @property
    def status(self) -> int:
        """200; 422 when every event is refused."""
        return 422 if self.faults and not self.stored + self.duplicates else 200

    def payload(self) -> dict[str, object]:
        """As it is answered."""
        return {
            "stored": self.stored,
            "duplicates": self.duplicates,
            "refused": len(self.faults),
            "faults": [fault.payload() for fault in self.faults[:FAULTS_TOLD]],
        }


class Collector:
    """Takes events, forgets users, answers questions."""

    def __init__(
        self,
        reader: EventReader,
        writer: Writer,
        asking: Asking,
        metrics: Metrics,
        *,
        pace: Pace,
        max_waiting: int,
    ) -> None:
        self._reader, self._writer, self._asking, self._metrics = reader, writer, asking, metrics
        self._pace, self._max_waiting = pace, max_waiting
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="reader")  # so that health is answered meanwhile
        self._waiting = 0

    @contextmanager
    def place(self) -> Iterator[None]:
        """A place among those that wait. Raises RequestError, 503, when all are taken."""
        if self._waiting >= self._max_waiting:
            self._metrics.overloads.inc()
            message = f"{self._waiting} requests wait already, which is --max-waiting; send it again"
            raise RequestError(503, "request", message, RETRY_AFTER)
        self._waiting += 1
        self._metrics.waiting.set(self._waiting)
        try:
            yield
        finally:
            self._waiting -= 1
            self._metrics.waiting.set(self._waiting)

    def refuse_other_key(self, fingerprint: str | None) -> None:
        """Exposures under pseudonyms of another key would belong to nobody here. Raises RequestError, 409."""
        if fingerprint not in (None, self._reader.key_fingerprint):
            raise RequestError(
                409,
                KEY_HEADER,
                "these exposures were made under another pseudonym key than the collector's, so no outcome would be "
                f"theirs; give both the same {KEY_VARIABLE}. A key does not change while an experiment runs",
            )

    async def exposures(self, body: bytes, sender: str) -> Taken:
        """Store a sender's batch of exposures. Raises RequestError, StoreError."""
        batch = await self._read(self._reader.exposures, body)
        self._admit(sender, batch)
        added = await self._writer.run(partial(Ledger.add_exposures, rows=batch.rows)) if batch.rows else Added(0, 0)
        return self._taken("exposure", sender, batch, added)

    async def outcomes(self, body: bytes, sender: str) -> Taken:
        """Store a sender's batch of outcomes. Raises RequestError, StoreError."""
        batch = await self._read(self._reader.outcomes, body)
        self._admit(sender, batch)
        add = partial(Ledger.add_outcomes, rows=batch.rows, sender=sender)
        added = await self._writer.run(add) if batch.rows else Added(0, 0)
        return self._taken("outcome", sender, batch, added)

    async def forget(self, body: bytes) -> dict[str, object]:
        """Delete users' data, until the files have none of its bytes. Raises RequestError, StoreError."""
        users = await self._read(self._reader.users, body)
        exposures = outcomes = 0
        async with self._asking.alone():  # a reader's snapshot would keep the old pages in the WAL
            for at in range(0, len(users), _FORGET):
                gone = await self._writer.run(partial(Ledger.forget, users=users[at : at + _FORGET]))
                exposures, outcomes = exposures + gone.exposures, outcomes + gone.outcomes
            if not await self._writer.clean():
                raise StoreError("the users are deleted, but another program reads the file; ask again when it ended")
        self._metrics.deleted.labels("forget").inc(exposures + outcomes)
        return {"users": len(set(users)), "exposures": exposures, "outcomes": outcomes}

    async def find(self, body: bytes) -> dict[str, object]:
        """How much there is of users' data. Raises RequestError, StoreError."""
        users = await self._read(self._reader.users, body)
        found = await self._writer.run(partial(Ledger.kept, users=users))
        return {"users": len(set(users)), "exposures": found.exposures, "outcomes": found.outcomes}

    async def ask(self, question: str, body: bytes) -> bytes:
        """Evidence or quantiles, as JSON. Raises RequestError."""
        began = time.perf_counter()
        outcome = "failed"
        try:
            answer = await self._asking.ask(question, body)
            outcome = "ok"
            return answer
        finally:
            self._metrics.evidence_seconds.labels(outcome).observe(time.perf_counter() - began)

    async def ready(self) -> str | None:
        """None, or why events cannot be stored now. After a failure it is tried whether writing works again."""
        if self._writer.failing is None and self._writer.alive:
            return None
        try:
            await self._writer.run(Ledger.probe)
        except StoreError as error:
            return str(error)
        return None

    @property
    def alive(self) -> bool:
        """Whether waiting can help."""
        return self._writer.alive

    async def _read(self, read: Callable[[bytes], Result], body: bytes) -> Result:
        return await asyncio.get_running_loop().run_in_executor(self._thread, read, body)

    def _admit(self, sender: str, batch: Batch[ExposureRow] | Batch[OutcomeRow]) -> None:
        events = len(batch.rows) + len(batch.faults)
        try:
            self._pace.take(sender, events)
        except RequestError:
            self._metrics.sender_events.labels(sender, "limited").inc(events)
            raise

    def _taken(self, kind: str, sender: str, batch: Batch[ExposureRow] | Batch[OutcomeRow], added: Added) -> Taken:
        conflicts = [
            Fault(index, "id", "sent before with other content", "an id of its own for every event; the first is kept")
            for index in added.conflicts
        ]
        conflicts += [_unnamed(kind, index, error) for index, error in added.unnamed.items()]
        self._metrics.names_refused(error.field for error in added.unnamed.values())
        faults = sorted((*batch.faults, *conflicts), key=lambda fault: fault.index)
        counts = {
            "stored": added.stored,
            "duplicate": added.duplicates,
            "refused": len(faults),
            "late": added.late,
            "orphan": added.orphans,
        }
        for result, count in counts.items():
            self._metrics.events.labels(kind, result).inc(count)
            self._metrics.sender_events.labels(sender, result).inc(count)
        return Taken(added.stored, added.duplicates, faults)


def _unnamed(kind: str, index: int, error: NamesFullError) -> Fault:
    expected = (
        f"one of the {error.limit} different names that are kept of it at a time (--max-names); a name goes with the "
        "last event that has it: correct the sender, forget its events, or raise --max-names"
    )
    return Fault(index, f"data.{error.field}" if kind == "exposure" else error.field, shown(error.word), expected)
