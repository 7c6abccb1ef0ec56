"""A stack that lives as long as a block of the calling process: what the demo and the measurements run in."""

from collections.abc import Iterator
from contextlib import contextmanager

from serving.stack.control import clear_remains
from serving.stack.layout import Layout
from serving.stack.lock import exclusive, remove_state, starting_state, write_state
from serving.stack.ports import Ports
from serving.stack.supervisor import Supervisor


@contextmanager
def foreground(layout: Layout, ports: Ports) -> Iterator[Supervisor]:
    """Hold the state folder and supervise; at the end of the block, however it ends, nothing runs any more.

    The state is written, so that `status` sees the stack, `down` ends it, and what a SIGKILL leaves is found.

    Raises:
        StackBusyError: a stack runs on this state folder.
        StackError: a port is taken.
    """
    with exclusive(layout.run):
        clear_remains(layout.run)
        ports.require_free()
        supervisor = Supervisor()
        write_state(layout.run, starting_state(supervisor.token, ports.as_dict()))
        try:
            with supervisor:
                yield supervisor
        finally:
            remove_state(layout.run)
