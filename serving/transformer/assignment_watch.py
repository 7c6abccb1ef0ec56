"""Follows the document of assignments: reads it again and again, and hands each model its own."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Protocol

from models.experiments.assignment import Assignment, AssignmentBook, AssignmentError
from serving.transformer.arm_metrics import ArmMetrics
from serving.transformer.assignment_sources import LARGEST, AssignmentSource
from serving.transformer.source_error import AssignmentSourceError

PATIENCE_SECONDS = 10.0
log = logging.getLogger("sightline.transformer")


class Follower(Protocol):
    """One served model's experiment."""

    def turn(self, assignment: Assignment | None) -> None:
        """Follow this assignment from now on."""
        ...

    def settle_without(self) -> None:
        """The assignments cannot be read."""
        ...


class AssignmentWatch:
    """Reads `source` every `seconds`. What cannot be read or used is counted, told once, and changes nothing."""

    def __init__(
        self,
        source: AssignmentSource,
        followers: Mapping[str, Follower],
        metrics: ArmMetrics,
        *,
        seconds: float,
        clock: Callable[[], float],
        patience: float = PATIENCE_SECONDS,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """`followers` by the served model's name. `patience` is how long one reading may take."""
        self._source, self._followers, self._metrics = source, followers, metrics
        self._seconds, self._patience, self._sleep = seconds, patience, sleep
        self._taken: dict[str, Assignment | None] = dict.fromkeys(followers)
        self._reading: asyncio.Task[bytes | None] | None = None
        self._complaint = ""
        self._others: set[str] = set()
        self._clock, self._read_at = clock, clock()
        metrics.assignment_age.set_function(lambda: clock() - self._read_at)

    async def watch(self) -> None:
        """Look again and again; runs until cancelled."""
        while True:
            await self.look()
            await self._sleep(self._seconds)

    async def look(self) -> None:
        """Read once, and hand out what changed."""
        try:
            book = AssignmentBook.from_json(await self._read() or b"")
        except (AssignmentSourceError, AssignmentError) as error:
            self._complain([f"{error}; what was read before stays"])
            for follower in self._followers.values():
                follower.settle_without()
            return
        self._read_at = self._clock()
        self._complain([complaint for model in self._followers if (complaint := self._turn(model, book.of(model)))])
        self._tell_others({each.model for each in book.assignments}.difference(self._followers))

    def close(self) -> None:
        """Let go of the source."""
        self._source.close()

    async def _read(self) -> bytes | None:
        """The document; one reading at a time, also where one hangs."""
        if self._reading is None:
            self._reading = asyncio.create_task(asyncio.to_thread(self._source.read))
        done, _ = await asyncio.wait({self._reading}, timeout=self._patience)
        if not done:
            raise AssignmentSourceError(f"the assignments did not come within {self._patience:g} s")
        reading, self._reading = self._reading, None
        text = reading.result()
        if text is not None and len(text) > LARGEST:
            raise AssignmentSourceError(f"the assignments have over {LARGEST} bytes; is that the right place?")
        return text

    def _turn(self, model: str, assignment: Assignment | None) -> str:
        """Hand a change to the model; return what is wrong with it."""
        before = self._taken[model]
        if before is not None and assignment is not None and assignment.uid == before.uid:
            if assignment == before:
                return ""
            if assignment.revision <= before.revision:
                return (
                    f"experiment {assignment.experiment}: revision is {assignment.revision}, the one in use is "
                    f"{before.revision} and differs; expected a higher one; it is ignored"
                )
        self._taken[model] = assignment
        self._followers[model].turn(assignment)
        return ""

    def _tell_others(self, models: set[str]) -> None:
        """Other transformers may share the document: no fault, and worth a line when a name is misspelt."""
        if models - self._others:
            served = ", ".join(self._followers)
            log.info("the assignments have experiments on %s; served here: %s", ", ".join(sorted(models)), served)
        self._others = models

    def _complain(self, complaints: list[str]) -> None:
        """Count, and log what was not the last complaint already."""
        if complaints:
            self._metrics.assignment_failures.inc()
        text = "; ".join(complaints)
        if text and text != self._complaint:
            log.warning("%s", text)
        if self._complaint and not text:
            log.info("the assignments can be used again")
        self._complaint = text
