"""Does turns at experiments when they are due, several at the same time, while this process leads."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial

from serving.rollout.experiment.ports import RefusedError, RetryError
from serving.rollout.operator.agenda import Agenda
from serving.rollout.operator.turn import Key, Turns

log = logging.getLogger("sightline.operator")
_STANDBY_SECONDS = 0.5


class Dispatcher:
    """Hands due experiments to workers. A turn that fails in a way nobody expected harms no other experiment."""

    def __init__(
        self,
        agenda: Agenda[Key],
        turns: Turns,
        *,
        leading: Callable[[], bool],
        failed: Callable[[str], None],
        workers: int,
    ) -> None:
        self._agenda, self._turns, self._leading, self._failed = agenda, turns, leading, failed
        self._workers = workers

    def run(self, stop: threading.Event) -> None:
        """Until `stop`; then wait for the turns in work."""
        free = threading.Semaphore(self._workers)
        with ThreadPoolExecutor(self._workers, thread_name_prefix="turn") as pool:
            while not stop.is_set():
                if not self._leading():
                    stop.wait(_STANDBY_SECONDS)
                    continue
                if not free.acquire(timeout=_STANDBY_SECONDS):
                    continue
                key = self._agenda.take(_STANDBY_SECONDS)
                if key is None:
                    free.release()
                    continue
                turn = pool.submit(self._turns.turn, key)
                turn.add_done_callback(partial(self._ended, key, free))

    def _ended(self, key: Key, free: threading.Semaphore, turn: Future[float | None]) -> None:
        error = turn.exception()
        if error is None:
            self._agenda.done(key, turn.result())
        else:
            self._failed(key.name)
            wait = self._turns.again(key)
            expected = isinstance(error, RetryError | RefusedError)
            log.warning(
                "experiment %s/%s: %s; again in %g s",
                key.namespace,
                key.name,
                error if expected else repr(error),
                wait,
                exc_info=None if expected else error,
            )
            self._agenda.done(key, wait)
        free.release()
