"""How far a command is, for whoever asks meanwhile: `sightline status`, a second `sightline up`, a refused command."""

import time
from collections.abc import Callable, Mapping
from pathlib import Path

from serving.stack.lines import Report
from serving.stack.state import StackState, Step, write_state

Say = Callable[[str], None]
"""Takes a remark for a person."""

_PAUSE_SECONDS = 0.5


class Journal:
    """Keeps the state file of a command that holds the state folder: at each new step, else twice a second at most."""

    def __init__(self, run: Path, state: StackState, clock: Callable[[], float] = time.time) -> None:
        self._run, self._state, self._clock = run, state, clock
        self._written = 0.0
        self._write()

    @property
    def state(self) -> StackState:
        """As it was last told, written or not yet."""
        return self._state

    def report(self, name: str, done: int, of: int) -> None:
        """Tell a step's progress."""
        before, now = self._state.step, self._clock()
        new = before is None or before.name != name
        step = Step(name=name, done=done, of=of, began=now if before is None or new else before.began)
        self._state = self._state.model_copy(update={"step": step})
        if new or done == of or now - self._written >= _PAUSE_SECONDS:
            self._write()

    def say(self, text: str) -> None:
        """Tell a remark."""
        self._state = self._state.model_copy(update={"remarks": (*self._state.remarks, text)})
        self._write()

    def ready(self, pids: Mapping[str, int]) -> None:
        """Tell that every server answers."""
        update = {"phase": "ready", "pids": dict(pids), "ready": self._clock(), "step": None}
        self._state = self._state.model_copy(update=update)
        self._write()

    def failed(self, message: str) -> None:
        """Tell why it ended."""
        self._state = self._state.model_copy(update={"phase": "failed", "message": message})
        self._write()

    def _write(self) -> None:
        write_state(self._run, self._state)
        self._written = self._clock()


def both(first: Report, second: Report) -> Report:
    """A report to two listeners."""

    def report(step: str, done: int, of: int) -> None:
        first(step, done, of)
        second(step, done, of)

    return report
