"""Signs of life in plain lines: at each step's begin and end and every ten seconds between. Standard library only."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Report = Callable[[str, int, int], None]
"""Takes (step, done, of); `of` is 1 where there is nothing to count."""

SILENCE_SECONDS = 10.0
"""The longest time without a line."""
_TICK_SECONDS = 1.0
_TRUST_SHARE = 0.05
"""A step's rate says something once so much of it is done."""


class Lines:
    """Says in plain lines what is done, how far it is and how long it takes; safe to call from several threads."""

    def __init__(self, write: Callable[[str], None], clock: Callable[[], float] = time.monotonic) -> None:
        self._write, self._clock = write, clock
        self._guard = threading.Lock()
        self._began = self._step_began = self._said = clock()
        self._step, self._done, self._of, self._first = "", 0, 1, 0

    def report(self, step: str, done: int, of: int) -> None:
        """Take a step's progress; the step's first and last are told at once."""
        with self._guard:
            now = self._clock()
            new = step != self._step
            if new:
                self._step, self._step_began, self._first = step, now, done
            over = done >= of and (new or self._done < self._of)
            self._done, self._of = done, of
            if new or over:
                self._tell(now, self._sentence(now - self._step_began))

    def tick(self) -> None:
        """To be called about once a second: breaks a silence."""
        with self._guard:
            now = self._clock()
            if self._step and now - self._said >= SILENCE_SECONDS - _TICK_SECONDS:
                idle = self._done >= self._of
                self._tell(now, f"at work after {self._step}" if idle else self._sentence(now - self._step_began))

    def _tell(self, now: float, sentence: str) -> None:
        self._said = now
        self._write(f"[{clock_text(now - self._began):>5}] {sentence}")

    def _sentence(self, seconds: float) -> str:
        counted = f" {self._done:,} of {self._of:,}" if self._of > 1 else ""
        if self._done >= self._of:
            return f"{self._step}:{counted} done ({_duration(seconds)})"
        if seconds < _TICK_SECONDS:
            return f"{self._step}{':' if counted else ''}{counted}"
        share = (self._done - self._first) / max(1, self._of - self._first)
        ahead = f", about {_duration(seconds * (1 - share) / share)} to go" if share >= _TRUST_SHARE else ""
        return f"{self._step}:{counted} after {_duration(seconds)}{ahead}"


def clock_text(seconds: float) -> str:
    """Minutes and seconds, such as 2:05."""
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 100 else f"{clock_text(seconds)} min"


@contextmanager
def plain(write: Callable[[str], None]) -> Iterator[Report]:
    """Lines, with a clock of their own that breaks silences."""
    lines, over = Lines(write), threading.Event()

    def beat() -> None:
        while not over.wait(_TICK_SECONDS):
            lines.tick()

    thread = threading.Thread(target=beat, name="progress", daemon=True)
    thread.start()
    try:
        yield lines.report
    finally:
        over.set()
        thread.join()
