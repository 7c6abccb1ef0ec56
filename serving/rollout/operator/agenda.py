"""What is to be looked at, and when: every experiment once, and none twice at the same time."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

Key = TypeVar("Key")


class Agenda(Generic[Key]):
    """Keys with a time each. Safe between threads."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._due: dict[Key, float] = {}
        self._running: set[Key] = set()
        self._changed = threading.Condition()

    def put(self, key: Key, after: float = 0.0) -> None:
        """Look at it in so many seconds, or before if that was wanted already."""
        with self._changed:
            at = self._monotonic() + after
            self._due[key] = min(at, self._due.get(key, at))
            self._changed.notify_all()

    def take(self, longest: float) -> Key | None:
        """The next key that is due and not in work, waiting at most so many seconds. `done` must follow."""
        end = self._monotonic() + longest
        with self._changed:
            while True:
                now = self._monotonic()
                waiting = {key: at for key, at in self._due.items() if key not in self._running}
                key = min(waiting, key=waiting.__getitem__, default=None)
                if key is not None and waiting[key] <= now:
                    del self._due[key]
                    self._running.add(key)
                    return key
                if now >= end:
                    return None
                self._changed.wait(min(end, waiting[key] if key is not None else end) - now)

    def done(self, key: Key, after: float | None) -> None:
        """Work on it has ended; look at it again in so many seconds, or (None) when it is put again."""
        with self._changed:
            self._running.discard(key)
            if after is not None:
                at = self._monotonic() + after
                self._due[key] = min(at, self._due.get(key, at))
            self._changed.notify_all()
