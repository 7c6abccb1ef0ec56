"""A file of lines that is being written: whole lines only, and its final name when it is closed."""

from __future__ import annotations

import contextlib
import fcntl
import os
from pathlib import Path

from models.files import sync_folder

SUFFIX, PART = ".jsonl", ".part"
_ABANDONED_SECONDS = 60.0  # a younger file may belong to a process that is about to lock it
_TAIL = 1 << 16


class Part:
    """An open file with a lock that ends with its process. Every method raises OSError."""

    def __init__(self, path: Path, handle: int, began: float) -> None:
        self._path, self._handle, self.began = path, handle, began
        self.size = os.fstat(handle).st_size

    @classmethod
    def new(cls, path: Path, began: float) -> Part:
        """Make the file; `path` ends with `.part`."""
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            sync_folder(path.parent)
        except BaseException:
            os.close(handle)
            path.unlink(missing_ok=True)
            raise
        return cls(path, handle, began)

    @property
    def removed(self) -> bool:
        """Whether somebody has removed the file: what is written to it is in no folder any more."""
        return os.fstat(self._handle).st_nlink == 0

    def append(self, data: bytes) -> None:
        """Write and sync all of `data`, or leave the file as it was."""
        try:
            rest = memoryview(data)
            while rest:
                rest = rest[os.write(self._handle, rest) :]
            os.fsync(self._handle)
        except OSError:
            os.ftruncate(self._handle, self.size)
            raise
        self.size += len(data)

    def finish(self) -> None:
        """Close; a file with lines gets its final name, an empty one is removed."""
        try:
            _name(self._path, self.size)
        finally:
            os.close(self._handle)

    def forget(self) -> None:
        """Close a file that is removed."""
        os.close(self._handle)


def finish_abandoned(folder: Path, now: float) -> list[Path]:
    """Give what killed processes left its final name, without a cut last line. Raises OSError.

    Returns:
        The files, by their earlier names.
    """
    done = []
    for path in sorted(folder.glob(f"*{SUFFIX}{PART}")):
        with contextlib.suppress(FileNotFoundError, BlockingIOError):  # another process was first; its writer lives
            if now - path.stat().st_mtime >= _ABANDONED_SECONDS:
                _finish_abandoned(path)
                done.append(path)
    return done


def _finish_abandoned(path: Path) -> None:
    handle = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        whole = _whole_lines(handle)
        os.ftruncate(handle, whole)
        os.fsync(handle)
        _name(path, whole)
    finally:
        os.close(handle)


def _whole_lines(handle: int) -> int:
    """Bytes up to the end of the last whole line."""
    end = os.fstat(handle).st_size
    while end:
        start = max(0, end - _TAIL)
        at = os.pread(handle, end - start, start).rfind(b"\n")
        if at >= 0:
            return start + at + 1
        end = start
    return 0


def _name(path: Path, size: int) -> None:
    if size:
        path.rename(path.with_name(path.name.removesuffix(PART)))
    else:
        path.unlink()
    sync_folder(path.parent)
