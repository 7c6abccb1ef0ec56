"""A small process that outlives the server just long enough to clean up after it, however it ended.

Ray's own processes notice the death of the one that started them, but not all of them do (after a SIGKILL
its two agents stay). The warden holds the other end of a pipe to the server; when that closes it ends every
process of the run. They are known by a mark in the environment that they inherit, or, as some overwrite
theirs with a process title, by the files that they hold open in the run's own folder. Linux only (/proc).
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

MARK = "SIGHTLINE_RAY_RUN"
_PATIENCE_S = 5.0


@contextmanager
def warden(folder: Path, remove: bool) -> Iterator[str]:
    """Guard what is started inside the block: yields the mark that its processes must carry as `MARK`.

    At the end of the block, or at the death of this process, the processes of the run are ended.

    Args:
        folder: a folder that only this run uses.
        remove: delete the folder then.
    """
    mark = uuid.uuid4().hex
    command = [
        sys.executable,
        "-m",
        "serving.captioner.warden",
        mark,
        str(folder),
        "remove" if remove else "keep",
    ]
    # A session of its own: a Ctrl-C or a signal to the server's process group must not take it along.
    process = subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)
    try:
        yield mark
    finally:
        process.communicate(timeout=4 * _PATIENCE_S)


def of_run(mark: str, folder: Path, spared: frozenset[int] = frozenset()) -> list[int]:
    """Ids of this run's processes: they carry the mark or hold a file in the folder open."""
    processes = (int(entry.name) for entry in Path("/proc").glob("[0-9]*"))
    return [number for number in processes if number not in spared and _belongs(number, mark, folder)]


def _belongs(number: int, mark: str, folder: Path) -> bool:
    process = Path(f"/proc/{number}")
    try:
        if f"{MARK}={mark}".encode() in (process / "environ").read_bytes().split(b"\0"):
            return True
        return any(_target(file).startswith(f"{folder}/") for file in (process / "fd").iterdir())
    except OSError:
        return False  # it has ended meanwhile, or it is another user's


def _target(file: Path) -> str:
    try:
        return os.readlink(file)
    except FileNotFoundError:
        return ""  # closed meanwhile


def end(mark: str, folder: Path, spared: frozenset[int]) -> None:
    """Kill all processes of the run; again, for those that were being started meanwhile."""
    deadline = time.monotonic() + _PATIENCE_S
    while (left := of_run(mark, folder, spared)) and time.monotonic() < deadline:
        for number in left:
            with suppress(ProcessLookupError):
                os.kill(number, signal.SIGKILL)
        time.sleep(0.05)


def main() -> None:
    """Wait until the pipe on standard input closes, then clean up."""
    mark, folder, fate = sys.argv[1], Path(sys.argv[2]), sys.argv[3]
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # somebody who ends all processes by name still gets a clean machine
    server = os.getppid()  # at a regular end it still runs, and has its logs open
    sys.stdin.buffer.read()
    end(mark, folder, frozenset({server, os.getpid()}))
    if fate == "remove":
        shutil.rmtree(folder, ignore_errors=True)  # a folder that stays is no reason to fail at the very end


if __name__ == "__main__":
    main()
