"""Ctrl-C, SIGTERM and a closed terminal end a command by one exception, which runs every clean-up on its way."""

import signal
import time
from types import FrameType
from typing import NoReturn

_REPEAT_SECONDS = 3.0


class Interrupted(SystemExit):
    """A signal asked for the end; the exit code is the shell's, 128 + its number."""

    def __init__(self, number: signal.Signals) -> None:
        super().__init__(128 + number)
        self.number = number


class _Handler:
    """Raises once; the same again within seconds is an impatient finger and must not cut the clean-up short."""

    def __init__(self) -> None:
        self._last: float | None = None

    def __call__(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if self._last is None or now - self._last > _REPEAT_SECONDS:
            self._last = now
            self._leave(number)

    def _leave(self, number: int) -> NoReturn:
        raise Interrupted(signal.Signals(number))


def end_on_signals() -> None:
    """Turn SIGINT, SIGTERM and SIGHUP into `Interrupted`; what `nohup` has told to be ignored stays so."""
    handler = _Handler()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if number is not signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, handler)
