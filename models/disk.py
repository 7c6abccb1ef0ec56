"""What is said when a file system takes no more: which place, how much was wanted, how much is free."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

_REFUSALS = {
    errno.ENOSPC: "make room there, or use another folder",
    errno.EDQUOT: "the quota is used up, whatever the file system has left: remove files, or have it raised",
    errno.EROFS: "mount it for writing, or use another folder",
    errno.EFBIG: "the limit of a file's size (ulimit -f, or the file system's) is below that: raise it",
}


class NoRoomError(OSError):
    """A file system is full, beyond its quota or read-only. Nothing half-written stays; a later try may succeed.

    `errno`, `strerror` and `filename` are an OSError's.
    """

    def __str__(self) -> str:
        return f"{self.filename} cannot be written ({self.strerror}); {_REFUSALS[self.errno or errno.ENOSPC]}"


def is_no_room(error: BaseException) -> bool:
    """Whether the system has refused to write for want of room, whoever asked it."""
    return isinstance(error, OSError) and error.errno in _REFUSALS


def no_room(error: OSError, path: Path, needed: int | None = None) -> NoRoomError:
    """The system's refusal to write `needed` bytes to `path`, told with the bytes that are free there."""
    reason = os.strerror(error.errno or errno.ENOSPC)
    wanted = [] if needed is None else [f"{needed} bytes needed"]
    free = [f"{free} bytes free on its file system"] if (free := _free(path)) is not None else []
    return NoRoomError(error.errno, ", ".join([reason, *wanted, *free]), str(path))


def _free(path: Path) -> int | None:
    """Bytes that this process may still write where `path` is or would be."""
    for folder in (path, *path.absolute().parents):
        try:
            return shutil.disk_usage(folder).free
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError:
            return None
    return None
