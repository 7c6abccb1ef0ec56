"""A stack that lives as long as a block of the calling process: what the demo and the measurements run in."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager

from serving.stack.control import clear_remains
from serving.stack.layout import Layout
from serving.stack.lock import StackState, exclusive, remove_state, write_state
from serving.stack.ports import Ports
from serving.stack.supervisor import Supervisor, signals_held


@contextmanager
def foreground(layout: Layout, ports: Ports) -> Iterator[Supervisor]:
    """Hold the state folder and supervise; at the end of the block, however it ends, nothing runs any more.

    The state is written, so that `status` sees the stack, `down` ends it, and what a SIGKILL leaves is found.

    Raises:
        StackBusyError: a stack runs on this state folder.
        StackError: a port is taken.
    """
    with exclusive(layout.run), Supervisor() as supervisor:
        clear_remains(layout.run)
        ports.require_free()
        state = StackState(
            pid=os.getpid(), token=supervisor.token, phase="starting", started=time.time(), ports=ports.as_dict()
        )
        write_state(layout.run, state)
        try:
            yield supervisor
        finally:
            with signals_held():
                supervisor.stop()
                remove_state(layout.run)
