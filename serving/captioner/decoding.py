"""Decoding in threads within a bound on memory, where small pictures never wait for large ones."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from serving.captioner.admission import Admitted, Limits, decode, opened
from serving.captioner.base64_text import Base64

SMALL_BYTES = 32 << 20
"""What decoding a small picture takes at most: any baseline JPEG of a phone, and others of about 3 megapixels."""


class DecodeMemory:
    """Bytes that are shared by threads, given in the order in which they were asked for."""

    def __init__(self, total: int) -> None:
        self._left = total
        self._turn = threading.Lock()
        self._freed = threading.Condition()

    @contextmanager
    def hold(self, amount: int) -> Iterator[None]:
        """Hold `amount` bytes, at most the total, during the block; waits until they are free."""
        with self._turn, self._freed:  # who waits here keeps the turn, so that nobody smaller goes ahead for ever
            self._freed.wait_for(lambda: self._left >= amount)
            self._left -= amount
        try:
            yield
        finally:
            with self._freed:
                self._left += amount
                self._freed.notify_all()


class Decoder:
    """Decodes pictures of one ingress replica.

    Each of `threads` threads for small pictures takes `SMALL_BYTES` at most; as many further threads decode large ones,
    `limits.max_decode_bytes` at a time. What waits for its turn is held encoded only.
    """

    def __init__(self, limits: Limits, threads: int) -> None:
        self._limits = limits
        self._memory = DecodeMemory(limits.max_decode_bytes)
        self._small = ThreadPoolExecutor(threads, thread_name_prefix="decode")
        self._large = ThreadPoolExecutor(threads, thread_name_prefix="decode-large")

    async def decode(self, source: bytes | Base64, field: str) -> Admitted:
        """The picture in `source`.

        Raises:
            ImageRefused: see `serving.captioner.admission`.
        """
        loop = asyncio.get_running_loop()
        result = await loop.run_in_executor(self._small, self._if_small, source, field)
        if isinstance(result, int):
            return await loop.run_in_executor(self._large, self._in_turn, source, field, result)
        return result

    def _if_small(self, source: bytes | Base64, field: str) -> Admitted | int:
        """The picture, or what decoding it takes where that is much."""
        data = source if isinstance(source, bytes) else source.decode(field)
        found = opened(data, self._limits, field)
        cost = found.cost + (0 if isinstance(source, bytes) else len(data))
        return decode(found, self._limits, field) if cost <= SMALL_BYTES else min(cost, self._limits.max_decode_bytes)

    def _in_turn(self, source: bytes | Base64, field: str, cost: int) -> Admitted:
        with self._memory.hold(cost):
            data = source if isinstance(source, bytes) else source.decode(field)
            return decode(opened(data, self._limits, field), self._limits, field)
