"""How many bytes of unanswered requests a process holds at the same time."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from serving.transformer.errors import OverloadedError

SMALL_BYTES: Final = 64 << 10
"""Of each body, not counted: usual requests are always taken, whatever others send; connections bound their sum."""


class Share:
    """What one request holds."""

    def __init__(self, held: "HeldBytes") -> None:
        self._held, self._bytes = held, 0

    def grow(self, size: int) -> None:
        """Hold so many bytes from now on, never fewer than before. Raises `OverloadedError`."""
        wanted = max(self._bytes, size - SMALL_BYTES)
        self._held.change(wanted - self._bytes)
        self._bytes = wanted

    def release(self) -> None:
        """Hold nothing any more."""
        self._held.change(-self._bytes)
        self._bytes = 0


class HeldBytes:
    """The bytes of all large bodies, `limit` at most. Lives in the event loop."""

    def __init__(self, limit: int, retry_after: float) -> None:
        self._limit, self._retry_after, self._bytes = limit, retry_after, 0

    @contextmanager
    def share(self) -> Iterator[Share]:
        """A share that is released at the end."""
        share = Share(self)
        try:
            yield share
        finally:
            share.release()

    def change(self, by: int) -> None:
        """Hold more, or fewer. Raises `OverloadedError`, and holds what it did, where that would be too many."""
        if by > 0 and self._bytes + by > self._limit:
            raise OverloadedError(
                f"large requests that are not answered yet hold {self._bytes} bytes of at most {self._limit} "
                f"(--max_held_bytes); try again, or send less than {SMALL_BYTES} bytes",
                self._retry_after,
            )
        self._bytes += by
