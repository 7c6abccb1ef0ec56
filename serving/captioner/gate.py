"""How much one ingress replica takes on at a time, so that its memory has a bound."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from serving.captioner.refusal import RequestRefused


class Gate:
    """Counts of what is held now, each below its maximum. Used from one event loop only."""

    def __init__(self, max_requests: int, max_bytes: int, max_images: int, retry_after_s: int) -> None:
        self._left = {"requests": max_requests, "bytes": max_bytes, "images": max_images}
        self._maximum = dict(self._left)
        self._retry_after_s = retry_after_s

    @contextmanager
    def hold(self, **amounts: int) -> Iterator[None]:
        """Hold `requests`, `bytes` or `images` during the block.

        Raises:
            RequestRefused: 503 when they do not fit beside what is held already.
        """
        for kind, amount in amounts.items():
            if amount > self._left[kind]:
                used = self._maximum[kind] - self._left[kind]
                raise RequestRefused(
                    "captioner_busy",
                    503,
                    "request",
                    f"{used} of {self._maximum[kind]} {kind} are held, this request needs {amount}: retry",
                    self._retry_after_s,
                )
        for kind, amount in amounts.items():
            self._left[kind] -= amount
        try:
            yield
        finally:
            for kind, amount in amounts.items():
                self._left[kind] += amount
