"""SIGTERM and SIGINT as a question that a job asks when it can stop."""

from __future__ import annotations

import signal
from types import FrameType


class Stop:
    """Called like a function it says whether someone has asked the job to stop."""

    def __init__(self) -> None:
        self._asked = False

    @classmethod
    def on_signals(cls) -> Stop:
        """From here on SIGTERM and SIGINT do not end this process; they ask."""
        stop = cls()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, stop.ask)
        return stop

    def ask(self, number: int | None = None, frame: FrameType | None = None) -> None:
        """Ask it to stop."""
        self._asked = True

    def __call__(self) -> bool:
        return self._asked
