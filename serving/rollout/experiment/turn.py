"""A step in the making: the state as it becomes, and what is told of it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from serving.rollout.experiment.desired import assignment
from serving.rollout.experiment.ports import Readiness
from serving.rollout.experiment.seen import Seen
from serving.rollout.experiment.spec import ExperimentSpec
from serving.rollout.experiment.state import Entry, KeptReading, Phase, State

LOG_FIRST, LOG_NEWEST = 20, 100
"""Entries of the log that are kept."""


@dataclass(frozen=True, slots=True)
class Turn:
    """What `decide` works on. Each method gives a new one."""

    spec: ExperimentSpec
    state: State
    seen: Seen
    now: datetime
    before: State
    """The state that the step began with."""
    events: tuple[Entry, ...] = ()

    def put(self, **fields: Any) -> Turn:
        """With these fields of the state."""
        return replace(self, state=self.state.model_copy(update=fields))

    def say(self, reason: str, message: str, *, warning: bool = False) -> Turn:
        """With an event, which is logged too."""
        entry = Entry(at=self.now, reason=reason, message=message, warning=warning)
        log = _kept((*self.state.log, entry))
        return replace(self.put(log=log, reason=reason, message=message), events=(*self.events, entry))

    def enter(self, phase: Phase, reason: str, message: str, *, warning: bool = False, **fields: Any) -> Turn:
        """In the next phase, with an event that says why."""
        return self.put(phase=phase, since=self.now, **fields).say(reason, message, warning=warning)

    def stop(self, end: Phase, reason: str, message: str, *, warning: bool = True) -> Turn:
        """On the way to an end: users back to stable, candidate removed."""
        return self.enter(Phase.STOPPING, reason, message, warning=warning, end=end)

    def close(self) -> Turn:
        """With the end logged; reason and message go on saying why it came."""
        told = f"Ended as {self.state.phase}: users are on stable and the candidate's own objects are gone."
        entry = Entry(at=self.now, reason="Ended", message=told)
        return replace(self.put(log=_kept((*self.state.log, entry))), events=(*self.events, entry))

    @property
    def ready(self) -> bool:
        """Whether the candidate was seen ready in this step."""
        return self.seen.candidate.readiness is Readiness.READY

    @property
    def in_place(self) -> bool:
        """Whether transformers are given what the state wants."""
        published = self.seen.published
        return published is not None and published == assignment(
            published.experiment, published.uid, self.spec, self.state
        )

    @property
    def sound(self) -> bool:
        """Whether the newest look leaves no doubt about the sample."""
        return not (self.state.looks and self.state.looks[-1].doubts)

    @property
    def clear(self) -> bool:
        """Whether all that guards users could be asked, is fine, and is about what the state wants."""
        return self.ready and self.in_place and self.state.blind is None and not self.breaches

    @property
    def passes(self) -> bool:
        """Whether a stage or a win may follow: all was read, of enough rankings, no value above its limit, no doubt."""
        above = any(reading.above for reading in self.seen.readings)
        return self.clear and self.sound and self.state.few is None and not above

    @property
    def breaches(self) -> tuple[KeptReading, ...]:
        """Guardrails that were read in this step, and their limits surely passed."""
        return tuple(each for each in self.state.readings if each.breached) if self.seen.readings else ()


def _kept(log: tuple[Entry, ...]) -> tuple[Entry, ...]:
    return log if len(log) <= LOG_FIRST + LOG_NEWEST else (*log[:LOG_FIRST], *log[-LOG_NEWEST:])
