"""Lists all experiments now and then: whatever the watch has missed is looked at all the same."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence

from serving.rollout.experiment.ports import RefusedError, RetryError
from serving.rollout.experiment.state import Phase
from serving.rollout.kubernetes.api import EXPERIMENT, Api, Object
from serving.rollout.operator.record import FINALIZER
from serving.rollout.operator.turn import Key

log = logging.getLogger("sightline.operator")
_ENDED = frozenset(phase.value for phase in Phase if phase.ended)
_PATIENCE = 3


class Resync:
    """Puts every experiment that is not done with on the agenda; knows whether the API answers."""

    def __init__(
        self,
        api: Api,
        *,
        namespaces: Sequence[str],
        put: Callable[[Key], None],
        seconds: float,
        monotonic: Callable[[], float],
    ) -> None:
        self._api, self._namespaces, self._put = api, tuple(namespaces), put
        self._seconds, self._monotonic = seconds, monotonic
        self._answered: float | None = None
        self._trouble = "the API server was not asked yet"

    def fault(self) -> str:
        """Why the API cannot be used; empty while it answered lately."""
        if self._answered is not None and self._monotonic() - self._answered < _PATIENCE * self._seconds:
            return ""
        return self._trouble

    def run(self, stop: threading.Event) -> None:
        """Until `stop`."""
        while True:
            try:
                self._list()
            except (RetryError, RefusedError) as error:
                self._trouble = str(error)
                log.warning("experiments cannot be listed: %s", error)
            if stop.wait(self._seconds if not self.fault() else min(self._seconds, 5.0)):
                return

    def _list(self) -> None:
        for namespace in self._namespaces:
            for found in self._api.list(EXPERIMENT, namespace):
                if _alive(found):
                    self._put(Key(namespace, found["metadata"]["name"]))
        self._answered = self._monotonic()


def _alive(found: Object) -> bool:
    """Whether there is something to do: an ended one is done with once it is not held any more."""
    metadata = found["metadata"]
    left = "deletionTimestamp" in metadata or FINALIZER in (metadata.get("finalizers") or ())
    return left or (found.get("status") or {}).get("phase") not in _ENDED
