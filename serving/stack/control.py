"""Start, find and stop the stack from a terminal."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from serving.stack.errors import StackError
from serving.stack.layout import Layout
from serving.stack.lock import StackBusyError, StackState, is_held, read_state, remove_state
from serving.stack.orphans import end_marked
from serving.stack.ports import Ports
from serving.stack.service import ended

_DOWN_SECONDS = 90.0
_started: list[subprocess.Popen[bytes]] = []
"""The supervisors that this process has started: they live on, and are reaped here once they have ended."""


def up(
    layout: Layout, ports: Ports, progress: Callable[[str], None], sleep: Callable[[float], None] = time.sleep
) -> StackState:
    """Start the stack in the background and wait until it answers. Interrupting the wait stops it again.

    Raises:
        StackBusyError: one is running here already.
        StackError: a port is taken or a server failed; nothing is left running.
    """
    if is_held(layout.run):
        raise StackBusyError(read_state(layout.run))
    clear_remains(layout.run)
    ports.require_free()
    daemon = _spawn(layout, ports)
    _started.append(daemon)
    try:
        return _wait_ready(layout, daemon, progress, sleep)
    except BaseException:
        if daemon.poll() is None:
            daemon.send_signal(signal.SIGTERM)
            daemon.wait(_DOWN_SECONDS)
        raise


def down(layout: Layout, sleep: Callable[[float], None] = time.sleep) -> bool:
    """Stop the stack and everything that it started.

    Returns:
        False when there was nothing to stop.

    Raises:
        StackError: it did not end.
    """
    state = read_state(layout.run)
    if not is_held(layout.run):
        return clear_remains(layout.run)
    if state is None:
        raise StackError(f"a stack is just starting in {layout.run}; try again in a few seconds")
    os.kill(state.pid, signal.SIGTERM)
    deadline = time.monotonic() + _DOWN_SECONDS
    while is_held(layout.run):
        if time.monotonic() > deadline:
            os.kill(state.pid, signal.SIGKILL)
            deadline += _DOWN_SECONDS
        sleep(0.1)
    _reap(state.pid)
    clear_remains(layout.run)
    return True


def clear_remains(run: Path) -> bool:
    """End what a stack left whose supervisor was killed, and forget its state.

    Returns:
        False when no stack had left anything.
    """
    state = read_state(run)
    if state is None:
        return False
    end_marked(state.token)
    _reap(state.pid)
    remove_state(run)
    return True


def _reap(pid: int) -> None:
    for daemon in [each for each in _started if each.pid == pid]:
        daemon.wait(_DOWN_SECONDS)
        _started.remove(daemon)


def _spawn(layout: Layout, ports: Ports) -> subprocess.Popen[bytes]:
    layout.logs.mkdir(parents=True, exist_ok=True)
    settings = [word for setting in ports.settings() for word in ("--port", setting)]
    with layout.log("supervisor").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "serving.stack.daemon", "--root", str(layout.root), *settings],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def _wait_ready(
    layout: Layout,
    daemon: subprocess.Popen[bytes],
    progress: Callable[[str], None],
    sleep: Callable[[float], None],
) -> StackState:
    while True:
        code = daemon.poll()
        state = read_state(layout.run)
        if code is not None:
            remove_state(layout.run)
            said = state.message if state and state.message else f"the supervisor {ended(code)}"
            raise StackError(f"the stack did not start: {said}\nthe supervisor's log: {layout.log('supervisor')}")
        if state and state.phase == "ready":
            return state
        progress("starting Triton, the transformer and the captioner")
        sleep(0.2)
