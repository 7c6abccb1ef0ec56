"""One process per database."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

FILE = "lock"


class LockedError(RuntimeError):
    """Another process has the database; the message names it."""


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Hold the folder's lock; it ends with the process, however that ends.

    Raises:
        LockedError: another process holds it.
        OSError: the folder cannot be written.
    """
    handle = os.open(folder / FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as cause:
            holder = os.pread(handle, 32, 0).decode("ascii", "replace").strip() or "unknown"
            raise LockedError(
                f"database {folder} is in use by process {holder}; stop it first: one process writes a database"
            ) from cause
        os.ftruncate(handle, 0)
        os.pwrite(handle, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(handle)
