"""A stack that lives as long as a block of the calling process: of the demo, the measurements, and `up`'s daemon."""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from serving.stack.journal import Journal
from serving.stack.layout import Layout
from serving.stack.lock import exclusive
from serving.stack.ports import Ports
from serving.stack.remains import clear_remains
from serving.stack.state import Command, remove_state, starting_state
from serving.stack.supervisor import Supervisor


@dataclass(frozen=True)
class Held:
    """Who runs the servers, and where it is told how far things are."""

    supervisor: Supervisor
    journal: Journal


@contextmanager
def foreground(layout: Layout, ports: Ports, command: Command) -> Iterator[Held]:
    """Hold the state folder and supervise; at the end of the block, however it ends, nothing runs any more.

    The state is written, so that `status` sees the stack, `down` ends it, and what a SIGKILL leaves is found.

    Raises:
        StackBusyError: another command holds this state folder.
        StackError: a port is taken.
    """
    with exclusive(layout.run):
        clear_remains(layout)
        ports.require_free()
        with supervised(layout, ports, command, uuid.uuid4().hex) as held:
            yield held


@contextmanager
def supervised(layout: Layout, ports: Ports, command: Command, token: str) -> Iterator[Held]:
    """`foreground` for a process that holds the state folder already."""
    try:
        with Supervisor(token) as supervisor:
            yield Held(supervisor, Journal(layout.run, starting_state(token, ports.as_dict(), command)))
    finally:
        remove_state(layout.run)
