"""Exposures as JSON lines in a folder: readers see whole files, and of one that is being written whole lines.

A file has the suffix `.part` while it is written. Closed, it gets its final name. What a killed process has left gets
it too, from the next process that begins a file there, without its cut last line.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

from serving.transformer.exposures.part import PART, SUFFIX, Part, finish_abandoned
from serving.transformer.exposures.sink import Line, SinkError


class FolderSink:
    """One file at a time, for at most `seconds` and about `size` bytes. Every batch is synced to the disk."""

    def __init__(
        self,
        folder: Path,
        *,
        seconds: float,
        size: int,
        now: Callable[[], float] = time.time,
        new: Callable[[Path, float], Part] = Part.new,
    ) -> None:
        self._folder, self._seconds, self._size = folder, seconds, size
        self._now, self._new = now, new
        self._part: Part | None = None

    def write(self, batch: Sequence[Line]) -> int:
        """Append the batch and sync. After a failure the file is as long as before. Raises SinkError."""
        with self._told():
            self._turn()
            if self._part is None:
                self._part = self._begin()
            self._part.append(b"".join(line.body + b"\n" for line in batch))
        return len(batch)

    def tend(self) -> None:
        """Close a file whose time is over. Raises SinkError."""
        with self._told():
            self._turn()

    def close(self) -> None:
        """Give the open file its final name. Raises SinkError."""
        with self._told():
            self._finish()

    def _turn(self) -> None:
        if self._part is None:
            return
        if self._part.removed:
            self._part.forget()
            self._part = None
            return
        age = self._now() - self._part.began
        if self._part.size >= self._size or not 0 <= age < self._seconds:  # a clock that went back ends it too
            self._finish()

    def _finish(self) -> None:
        part, self._part = self._part, None
        if part is not None:
            part.finish()

    def _begin(self) -> Part:
        self._folder.mkdir(parents=True, exist_ok=True)
        began = self._now()
        finish_abandoned(self._folder, began)
        at = datetime.fromtimestamp(began, UTC).strftime("%Y%m%dT%H%M%SZ")
        name = f"exposures-{at}-{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}{SUFFIX}{PART}"
        return self._new(self._folder / name, began)

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except OSError as cause:
            raise SinkError(
                f"exposures cannot be written to {self._folder}: {cause.strerror or cause}; "
                "free space, or let this process write there"
            ) from cause
