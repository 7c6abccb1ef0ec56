"""A small process that outlives the server just long enough to clean up after it, however it ended.

Ray's own processes notice the death of the one that started them, but not all of them do (after a SIGKILL its two
agents stay). The warden holds the other end of a pipe to the server; when that closes it ends every process of the
run. They are known by a mark in the environment that they inherit. A process title can overwrite that, so a process
is also known by writing to a file in the run's own folder, if it is younger than the warden, as all of the run are.
Somebody who reads a log there or looks around is no part of the run. Linux only (/proc).
"""

from __future__ import annotations

import os
import re
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
CLEANER = "SIGHTLINE_CLEANS_UP"
"""In the environment of a process that ends by itself once it has cleaned up after others."""
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
    environment = {**os.environ, CLEANER: "1"}
    process = subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True, env=environment)
    try:
        yield mark
    finally:
        process.communicate(timeout=4 * _PATIENCE_S)


def of_run(mark: str, folder: Path, since: int = 0, spared: frozenset[int] = frozenset()) -> list[int]:
    """Ids of this run's processes.

    Args:
        mark: the value of `MARK` in their environment.
        folder: the run's folder; who writes to a file in it belongs to the run.
        since: `started` of the oldest process that may be known by its files.
        spared: ids that are left out.
    """
    numbers = (int(entry.name) for entry in Path("/proc").glob("[0-9]*"))
    return [number for number in numbers if number not in spared and _belongs(number, mark, folder, since)]


def started(number: int) -> int:
    """When a process was started, in clock ticks since the machine's start.

    Raises:
        OSError: there is no such process.
    """
    return int(Path(f"/proc/{number}/stat").read_text().rsplit(")", 1)[1].split()[19])


def _belongs(number: int, mark: str, folder: Path, since: int) -> bool:
    process = Path(f"/proc/{number}")
    try:
        if f"{MARK}={mark}".encode() in (process / "environ").read_bytes().split(b"\0"):
            return True
        if started(number) < since:
            return False
        return any(_writes(process, file.name, folder) for file in (process / "fd").iterdir())
    except OSError:
        return False  # it has ended meanwhile, or it is another user's


def _writes(process: Path, descriptor: str, folder: Path) -> bool:
    try:
        if not os.readlink(process / "fd" / descriptor).startswith(f"{folder}/"):
            return False
        flags = re.search(r"^flags:\s*(\d+)", (process / "fdinfo" / descriptor).read_text(), re.MULTILINE)
    except (FileNotFoundError, ProcessLookupError):
        return False  # closed meanwhile
    return flags is not None and int(flags[1], 8) & os.O_ACCMODE != os.O_RDONLY


def end(mark: str, folder: Path, since: int, spared: frozenset[int]) -> None:
    """Kill all processes of the run; again, for those that were being started meanwhile."""
    deadline = time.monotonic() + _PATIENCE_S
    while (left := of_run(mark, folder, since, spared)) and time.monotonic() < deadline:
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
    end(mark, folder, started(os.getpid()), frozenset({server, os.getpid()}))
    if fate == "remove":
        shutil.rmtree(folder, ignore_errors=True)  # a folder that stays is no reason to fail at the very end


if __name__ == "__main__":
    main()
