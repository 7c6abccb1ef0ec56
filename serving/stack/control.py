"""Start, find and stop the stack from a terminal."""

import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from contextlib import suppress

from serving.stack.errors import StackError
from serving.stack.layout import Layout
from serving.stack.lock import StackBusyError, acquire, exclusive, holds, is_held
from serving.stack.ports import Ports
from serving.stack.remains import clear_remains
from serving.stack.service import ended
from serving.stack.state import StackState, read_state, starting_state, write_state

Follow = Callable[[StackState], None]
"""Is shown the state again and again while one waits."""

DAEMON = (sys.executable, "-m", "serving.stack.daemon")
_DOWN_SECONDS = 90.0
_started: list[subprocess.Popen[bytes]] = []
"""The supervisors that this process has started: they live on, and are reaped here once they have ended."""


def up(layout: Layout, ports: Ports, follow: Follow, sleep: Callable[[float], None] = time.sleep) -> StackState:
    """Start the stack in the background and wait until it answers. Interrupting the wait stops it again.

    A stack that another `up` is starting is waited for; interrupting that wait leaves it alone.

    Raises:
        StackBusyError: one runs here already, or another command is at work here.
        StackError: a port is taken, a part cannot be made, or a server failed; nothing is left running.
    """
    try:
        handle = acquire(layout.run)
    except StackBusyError as busy:
        if busy.state is not None and (busy.state.command != "up" or busy.state.phase == "ready"):
            raise
        return _wait_ready(layout, None, follow, sleep)
    try:
        clear_remains(layout)
        ports.require_free()
        daemon = _spawn(layout, ports, handle)
    finally:
        os.close(handle)  # the daemon has it now
    _started.append(daemon)
    try:
        return _wait_ready(layout, daemon, follow, sleep)
    except BaseException:
        if daemon.poll() is None:
            daemon.send_signal(signal.SIGTERM)
            daemon.wait(_DOWN_SECONDS)
        _reap(daemon.pid)
        with suppress(StackBusyError), exclusive(layout.run):
            clear_remains(layout)
        raise


def down(layout: Layout, sleep: Callable[[float], None] = time.sleep) -> bool:
    """Stop whatever is at work on this state folder, with everything that it started, and what a killed one left.

    Returns:
        False when there was nothing to stop.

    Raises:
        StackError: it did not end, or its state cannot be read.
    """
    if not layout.run.is_dir():
        return False
    stopped = is_held(layout.run)
    if stopped:
        _end_holder(layout, sleep)
    try:
        with exclusive(layout.run):
            return clear_remains(layout) or stopped
    except StackBusyError:
        return True  # the next command has begun already


def _end_holder(layout: Layout, sleep: Callable[[float], None]) -> None:
    told: dict[int, float] = {}
    began = time.monotonic()
    while is_held(layout.run):
        state, now = read_state(layout.run), time.monotonic()
        if state is not None and holds(state.pid, layout.run):
            asked = told.setdefault(state.pid, now)
            if asked == now or now - asked > _DOWN_SECONDS:
                with suppress(ProcessLookupError):
                    os.kill(state.pid, signal.SIGTERM if asked == now else signal.SIGKILL)
        if now - began > 2 * _DOWN_SECONDS:
            raise StackError(f"who holds {layout.run} did not end; see its pid with: lsof {layout.run}/stack.lock")
        sleep(0.1)
    for pid in told:
        _reap(pid)


def _reap(pid: int) -> None:
    for daemon in [each for each in _started if each.pid == pid]:
        daemon.wait(_DOWN_SECONDS)
        _started.remove(daemon)


def _spawn(layout: Layout, ports: Ports, handle: int) -> subprocess.Popen[bytes]:
    layout.logs.mkdir(parents=True, exist_ok=True)
    token = uuid.uuid4().hex
    write_state(layout.run, starting_state(token, ports.as_dict()))
    settings = [word for setting in ports.settings() for word in ("--port", setting)]
    given = [
        "--root",
        str(layout.root),
        "--home",
        layout.home,
        "--lock",
        str(handle),
        "--token",
        token,
        "--starter",
        str(os.getpid()),
    ]
    with layout.log("supervisor").open("ab") as log:
        return subprocess.Popen(
            [*DAEMON, *given, *settings],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            pass_fds=(handle,),
        )


def _wait_ready(
    layout: Layout, daemon: subprocess.Popen[bytes] | None, follow: Follow, sleep: Callable[[float], None]
) -> StackState:
    """Follow a start to its end: that of `daemon`, or of whoever holds the state folder."""
    while True:
        code = None if daemon is None else daemon.poll()
        over = code is not None if daemon is not None else not is_held(layout.run)
        state = read_state(layout.run)
        if over:
            raise StackError(_why_over(layout, state, code))
        if state is not None:
            if state.phase == "ready":
                return state
            follow(state)
        sleep(0.2)


def _why_over(layout: Layout, state: StackState | None, code: int | None) -> str:
    if state is not None and state.message:
        said = state.message
    elif code:
        said = f"the supervisor {ended(code)}"
    else:
        return "the stack was stopped before it was ready; what was finished is kept: sightline up goes on from there"
    return f"the stack did not start: {said}\nthe supervisor's log: {layout.log('supervisor')}"
