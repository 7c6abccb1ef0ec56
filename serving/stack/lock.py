"""One holder per state folder: a lock that the kernel drops with its holder, and who that is."""

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from serving.stack.errors import StackError
from serving.stack.state import StackState, read_state

_PROBES = 50
_PROBE_SECONDS = 0.01


class StackBusyError(StackError):
    """Another command holds this state folder; `state` is what it says of itself."""

    def __init__(self, state: StackState | None) -> None:
        self.state = state
        super().__init__(_busy(state))


def _busy(state: StackState | None) -> str:
    if state is None:
        return "another command has just started here; try again in a few seconds, or end it: sightline down"
    if state.phase == "ready":
        return f"a stack is already running here ({_who(state)}); stop it first: sightline down"
    return (
        f"sightline {state.command} is at work here ({_who(state)}, {state.doing}); "
        "wait for its end, or end it: sightline down"
    )


def _who(state: StackState) -> str:
    return f"pid {state.pid}, since {time.strftime('%H:%M:%S', time.localtime(state.since))}"


def acquire(run: Path, pause: Callable[[float], None] = time.sleep) -> int:
    """Take the state folder: a file descriptor that holds it until it and all its copies are closed.

    A process that is started with it holds it, too: the folder is handed over without a moment in which it is free.

    Raises:
        StackBusyError: another process holds it.
    """
    run.mkdir(parents=True, exist_ok=True)
    handle = _opened(run)
    for _ in range(_PROBES):
        with suppress(BlockingIOError):
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return handle
        if not is_held(run):  # somebody has just looked, which takes the lock for microseconds
            pause(_PROBE_SECONDS)
            continue
        break
    os.close(handle)
    raise StackBusyError(read_state(run))


@contextmanager
def exclusive(run: Path) -> Iterator[None]:
    """Hold the state folder for the time of a block.

    Raises:
        StackBusyError: another process holds it.
    """
    handle = acquire(run)
    try:
        yield
    finally:
        os.close(handle)


def is_held(run: Path) -> bool:
    """Whether a command holds this state folder now. Those who only look do not stand in each other's way."""
    if not run.is_dir():
        return False
    handle = _opened(run)
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(handle)
    return False


def holds(pid: int, run: Path) -> bool:
    """Whether that process has the lock's file open: a pid alone may have been given to another process since."""
    try:
        return str(_file(run).resolve()) in {each.path for each in psutil.Process(pid).open_files()}
    except psutil.Error:
        return False


def _opened(run: Path) -> int:
    return os.open(_file(run), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)


def _file(run: Path) -> Path:
    return run / "stack.lock"
