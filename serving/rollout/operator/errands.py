"""Work that nobody waits for, done in order by one thread: notices that are sent."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable

_WAITING = 200


class Errands:
    """A bounded queue of work. What is submitted must not raise."""

    def __init__(self) -> None:
        self._queue: queue.Queue[Callable[[], None]] = queue.Queue(_WAITING)

    def submit(self, work: Callable[[], None]) -> bool:
        """Have it done soon; False when too much waits already."""
        try:
            self._queue.put_nowait(work)
        except queue.Full:
            return False
        return True

    def run(self, stop: threading.Event, longest_end: float = 5.0) -> None:
        """Until `stop`, then what waits is done if it can be in so many seconds."""
        while not stop.is_set() or not self._queue.empty():
            try:
                work = self._queue.get(timeout=0.2)
            except queue.Empty:
                continue
            work()
            if stop.is_set():
                longest_end -= 1.0
                if longest_end <= 0:
                    return
