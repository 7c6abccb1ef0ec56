"""How fast one sender may send: no right, however it was come by, may fill the database or the disk's queue alone."""

from __future__ import annotations

import math
from collections.abc import Callable

from serving.rollout.collector.faults import RequestError

BURST_SECONDS = 10
"""Events of so long a time may come at once, and a full batch in any case."""


class Pace:
    """A token bucket per sender. `clock` gives seconds that never go back."""

    def __init__(self, per_second: float, *, batch: int, clock: Callable[[], float]) -> None:
        self._rate, self._clock = per_second, clock
        self._most = max(per_second * BURST_SECONDS, float(batch))
        self._left: dict[str, tuple[float, float]] = {}

    def take(self, sender: str, events: int) -> None:
        """Let a batch pass. Raises RequestError, 429 with the time to wait, when the sender sends too fast."""
        now = self._clock()
        left, before = self._left.get(sender, (self._most, now))
        left = min(self._most, left + (now - before) * self._rate)
        if events <= left:
            self._left[sender] = (left - events, now)
            return
        self._left[sender] = (left, now)
        wait = math.ceil((events - left) / self._rate)
        raise RequestError(
            429,
            "request",
            f"{sender!r} sends more than {self._rate:g} events a second, each sender's --max-events-per-second; "
            f"nothing of this batch is stored: send it again in {wait} s",
            wait,
        )
