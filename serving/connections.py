"""How many connections a server holds at the same time, and which one goes when another comes.

A connection costs a file descriptor and some kilobytes, also when nothing is asked on it. Beyond the limit a new one
takes the place of the one that has been silent, or sending its request, the longest; where all have an answer under
way, the new one is refused. So whoever opens connections and says nothing, or not all, pushes out their own.
"""

from __future__ import annotations

import logging
import resource
from enum import Enum
from typing import Protocol

DEFAULT_CONNECTIONS = 1000
_OTHER_FILES = 256
"""Descriptors that are left for what a service has open beside its connections."""
log = logging.getLogger("sightline.http")


class Doing(Enum):
    """What a connection does; it may be ended in the first two."""

    IDLE = "has sent no whole head"
    SENDING = "its body comes"
    ANSWERED = "its answer is under way"


class Held(Protocol):
    """A connection that can be ended."""

    def end(self) -> None:
        """Close it now, whatever was to be sent."""
        ...


class Connections:
    """Those of one server. Lives in its event loop; every method takes constant time."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._held: dict[Held, Doing] = {}
        # Those that may be ended, in the order in which they began what they do: dicts keep it, and give the first one
        # at once. One order for both: a newcomer is idle before its first bytes come, and must not go first.
        self._since: dict[Held, None] = {}

    @property
    def limit(self) -> int:
        return self._limit

    def admit(self, connection: Held) -> bool:
        """Hold a new connection, and end another one if there are too many; False where none can be ended."""
        full = len(self._held) >= self._limit
        victim = next(iter(self._since), None)
        if full and victim is not None:
            self.forget(victim)
            victim.end()
        self.note(connection, Doing.IDLE)
        return not full or victim is not None

    def note(self, connection: Held, doing: Doing) -> None:
        """Hear what a connection does now; one that was ended or has gone must not be told of again."""
        if self._held.get(connection) is doing:
            return
        self._held[connection] = doing
        self._since.pop(connection, None)
        if doing is not Doing.ANSWERED:
            self._since[connection] = None

    def forget(self, connection: Held) -> None:
        """It is gone, or goes; an unknown one is no error."""
        self._held.pop(connection, None)
        self._since.pop(connection, None)

    def __contains__(self, connection: Held) -> bool:
        return connection in self._held


def within_descriptors(wanted: int) -> int:
    """As many of the wanted connections as this process may have open; raises its soft limit up to the hard one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = wanted + _OTHER_FILES
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return wanted
    allowed = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
    if allowed > soft:
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    possible = max(1, min(wanted, max(allowed, soft) - _OTHER_FILES))
    if possible < wanted:
        log.warning(
            "%d connections at the same time and not %d: this process may open %d files; raise that (ulimit -n)",
            *(possible, wanted, max(allowed, soft)),
        )
    return possible
