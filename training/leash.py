"""How a worker process ends: with its parent, and on SIGTERM after its run has been saved."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from models.leash import end_with_parent
from models.termination import EXIT_INTERRUPTED


class _Leash:
    """What SIGTERM does now: end an idle process, ask a working one to end."""

    def __init__(self) -> None:
        self.working = self.pulled = False

    def pull(self, number: int, frame: FrameType | None) -> None:
        self.pulled = True
        if not self.working:
            os._exit(EXIT_INTERRUPTED)


_leash = _Leash()


def put_on() -> None:
    """To be called once, first thing, in a worker process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends its workers itself
    signal.signal(signal.SIGTERM, _leash.pull)
    end_with_parent(signal.SIGKILL)


@contextmanager
def working() -> Iterator[Callable[[], bool]]:
    """Work for the time of a block; gives what says whether to stop. After a stop the process ends with the block.

    It ends by itself because the pool that it belongs to waits for it: a worker that has been told to end and takes the
    next task instead would never be joined.
    """
    _leash.working = True
    try:
        yield lambda: _leash.pulled
    finally:
        _leash.working = False
        if _leash.pulled:
            os._exit(EXIT_INTERRUPTED)
