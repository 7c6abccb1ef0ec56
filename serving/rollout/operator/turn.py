"""One turn at one experiment: read the resource, do a step of its controller, say when to come back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from serving.rollout.experiment.reconcile import Step, finish, reconcile
from serving.rollout.experiment.spec import ExperimentSpec
from serving.rollout.experiment.state import State
from serving.rollout.experiment.world import World
from serving.rollout.kubernetes.api import EXPERIMENT, Api
from serving.rollout.kubernetes.values import unpromotable
from serving.rollout.operator.reach import Reach
from serving.rollout.operator.record import Record
from serving.rollout.report.resource import Resource, ResourceError, read

_LEAVING_SECONDS = 5.0
"""Transformers notice within this that an assignment is gone."""


@dataclass(frozen=True, slots=True)
class Key:
    """Which experiment."""

    namespace: str
    name: str


class Worlds(Protocol):
    """Makes the world of an experiment."""

    def of(self, resource: Resource) -> World:
        """Its ports. Raises ResourceError for a spec that names what cannot be."""
        ...

    @property
    def reach(self) -> Reach:
        """What experiments may name."""
        ...


class Watcher(Protocol):
    """Who counts."""

    def stepped(self, name: str, before: State | None, spec: ExperimentSpec, step: Step) -> None:
        """A step was done."""
        ...

    def failed(self, name: str) -> None:
        """A turn could not be done."""
        ...

    def gone(self, name: str) -> None:
        """The experiment was deleted."""
        ...


class Turns:
    """Does turns; knows how often in a row an experiment's world did not answer, and nothing else."""

    def __init__(
        self, api: Api, worlds: Worlds, watcher: Watcher, *, now: Callable[[], datetime], longest_wait: float
    ) -> None:
        """`longest_wait` bounds the seconds between two turns at an experiment that has not ended."""
        self._api, self._worlds, self._watcher, self._now = api, worlds, watcher, now
        self._longest_wait = longest_wait
        self._failures: dict[Key, int] = {}

    def turn(self, key: Key) -> float | None:
        """Do one; seconds until the next, None when there is none.

        Raises:
            RetryError, RefusedError: it could not be done; see `again`.
        """
        found = self._api.get(EXPERIMENT, key.namespace, key.name)
        if found is None:
            self._watcher.gone(key.name)
            self._failures.pop(key, None)
            return None
        record = Record(self._api, found, self._now)
        try:
            if record.leaving:
                return self._leave(key, record)
            return self._step(key, record, read(record.found))
        except ResourceError as error:
            self._watcher.failed(key.name)
            record.save_fault(str(error))
            return self._longest_wait

    def again(self, key: Key) -> float:
        """Seconds until what failed is tried again: one, then twice as long each time."""
        failures = self._failures[key] = self._failures.get(key, 0) + 1
        return min(2.0 ** min(failures - 1, 10), self._longest_wait)

    def _step(self, key: Key, record: Record, resource: Resource) -> float | None:
        spec = resource.spec
        if resource.state is None and (refusal := self._worlds.reach.refusal(spec) or unpromotable(spec)):
            raise ResourceError(f"Experiment {resource.name}: {refusal}")
        if resource.state is None or not resource.state.phase.ended:
            record.hold()

        def save(state: State) -> None:
            record.save(spec, state)

        step = reconcile(resource.name, resource.uid, spec, resource.state, self._worlds.of(resource), save)
        self._watcher.stepped(resource.name, resource.state, spec, step)
        record.save(spec, step.state, step.failure)
        if step.failure:
            self._watcher.failed(key.name)
            return self.again(key)
        self._failures.pop(key, None)
        if step.state.phase.ended:
            record.let_go()  # nothing is left to clean up, and the controller may be gone when it is deleted
        return None if step.wait is None else min(step.wait.total_seconds(), self._longest_wait)

    def _leave(self, key: Key, record: Record) -> float | None:
        """Clean up behind a resource that is being deleted."""
        if not record.held:
            return None
        resource = self._readable(record)
        if resource is not None:
            world = self._worlds.of(resource)
            if not finish(resource.name, resource.uid, resource.spec, resource.state, world):
                return min(_LEAVING_SECONDS, self._longest_wait)
        record.let_go()
        self._failures.pop(key, None)
        self._watcher.gone(key.name)
        return None

    def _readable(self, record: Record) -> Resource | None:
        """The resource; None for one that could never be read: nothing was made for it. Raises ResourceError."""
        try:
            return read(record.found)
        except ResourceError:
            if (record.found.get("status") or {}).get("state") is not None:
                raise
            return None
