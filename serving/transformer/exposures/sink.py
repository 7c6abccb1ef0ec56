"""Where exposures go, as the recorder sees it: something that takes batches, in a thread that may wait for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


class ExposureError(ValueError):
    """An address of exposures that cannot be used; the message names it, what was expected and what to do."""


class SinkError(Exception):
    """A batch that was not taken. `again`: the same batch may be taken later, after `pause` seconds at least."""

    def __init__(self, message: str, *, again: bool = True, pause: float = 0.0) -> None:
        super().__init__(message)
        self.again, self.pause = again, pause


@dataclass(frozen=True, slots=True)
class Line:
    """An exposure, written: its id, its time in seconds since 1970, and all of it as JSON of one line."""

    id: str
    time: float
    body: bytes


class Sink(Protocol):
    """Used by one thread. Every method returns within seconds, whatever is at the other end."""

    def write(self, batch: Sequence[Line]) -> int:
        """Take the batch; return how many of it have arrived for good. The others are refused. Raises SinkError."""
        ...

    def tend(self) -> None:
        """Called now and then while there is nothing to write. Raises SinkError."""
        ...

    def close(self) -> None:
        """End; what was taken is complete. Raises SinkError."""
        ...
