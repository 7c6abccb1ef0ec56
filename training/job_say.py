"""What a job prints while it works: plain lines, few enough for a log."""

from __future__ import annotations

import time
from collections.abc import Callable

from models.printable import printable
from training.run import Progress

EVERY_SECONDS = 3.0


class Told:
    """Prints lines with the seconds since the job began; progress at most every few of them."""

    def __init__(self, *, quiet: bool = False, clock: Callable[[], float] = time.monotonic) -> None:
        self._quiet, self._clock, self._began = quiet, clock, clock()
        self._next = self._began

    def say(self, line: str) -> None:
        """Print a line, unless another process says it already."""
        if not self._quiet:
            print(f"{self._clock() - self._began:8.1f} s  {printable(line)}", flush=True)  # noqa: T201

    def progress(self, progress: Progress) -> None:
        """Print how far the training runs are, if it is time or all are done."""
        if self._clock() >= self._next or progress.done == progress.total:
            self.say(f"{progress.done:.2f} of {progress.total} training runs done; {progress.doing}")
            self._next = self._clock() + EVERY_SECONDS
