"""A circuit breaker: who failed several times in a row is left alone for a while."""

from collections.abc import Callable


class Breaker:
    """Opens after `failures` in a row for `pause` seconds; then one caller after each pause sees whether it is over.

    `clock` gives seconds. Lives in the event loop.
    """

    def __init__(self, failures: int, pause: float, clock: Callable[[], float]) -> None:
        self._limit, self._pause, self._clock = failures, pause, clock
        self._in_a_row = 0
        self._until = float("-inf")

    @property
    def open(self) -> bool:
        """Whether callers are turned away."""
        return self._in_a_row >= self._limit

    def allows(self) -> bool:
        """Whether this caller may ask. The others wait for what the one let through finds."""
        if not self.open:
            return True
        now = self._clock()
        if now < self._until:
            return False
        self._until = now + self._pause
        return True

    def succeeded(self) -> None:
        """An answer came."""
        self._in_a_row = 0

    def failed(self) -> None:
        """None came, or a bad one."""
        self._in_a_row += 1
        if self.open:
            self._until = self._clock() + self._pause
