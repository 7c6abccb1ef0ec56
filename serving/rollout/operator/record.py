"""One Experiment in the API server, as a turn works on it: read once, written against its resourceVersion."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from serving.rollout.experiment.spec import ExperimentSpec
from serving.rollout.experiment.state import State
from serving.rollout.kubernetes.api import EXPERIMENT, Api, Object
from serving.rollout.operator.status import status, unreadable

FINALIZER = "sightline.dev/experiment"


class Record:
    """The object. Every write raises ConflictError, a RetryError, when somebody else has changed it."""

    def __init__(self, api: Api, found: Object, now: Callable[[], datetime]) -> None:
        self._api, self._now = api, now
        self.found = found
        self._status = found.get("status")

    @property
    def leaving(self) -> bool:
        """Whether it is being deleted."""
        return "deletionTimestamp" in self.found["metadata"]

    @property
    def held(self) -> bool:
        """Whether it waits for us to be deleted."""
        return FINALIZER in self._finalizers()

    def hold(self) -> None:
        """Let it not be deleted before it was cleaned up behind."""
        if not self.held:
            self._set_finalizers([*self._finalizers(), FINALIZER])

    def let_go(self) -> None:
        """Let it be deleted."""
        if self.held:
            self._set_finalizers([each for each in self._finalizers() if each != FINALIZER])

    def save(self, spec: ExperimentSpec, state: State, failure: str = "") -> None:
        """Write state, columns and conditions; nothing is written when all is as it was."""
        old = self.found.get("status") or {}
        generation = int(self.found["metadata"].get("generation", 1))
        self._write(status(spec, state, failure, generation=generation, old=old, now=self._now()))

    def save_fault(self, fault: str) -> None:
        """Write that it cannot be read, and why."""
        old = self.found.get("status") or {}
        generation = int(self.found["metadata"].get("generation", 1))
        self._write(unreadable(fault, generation=generation, old=old, now=self._now()))

    def _write(self, made: Object) -> None:
        if made != self._status:
            body = {**self.found, "status": made}
            self.found = self._api.replace(EXPERIMENT, body["metadata"]["namespace"], body, "status")
            self._status = made  # what comes back has the schema's defaults in it, and would always differ

    def _finalizers(self) -> list[str]:
        return list(self.found["metadata"].get("finalizers") or ())

    def _set_finalizers(self, names: list[str]) -> None:
        metadata = self.found["metadata"]
        changes = {"metadata": {"finalizers": names}}
        namespace, name, version = metadata["namespace"], metadata["name"], metadata["resourceVersion"]
        self.found = self._api.patch(EXPERIMENT, namespace, name, changes, version=version)
