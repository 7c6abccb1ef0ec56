"""What a check found, and how long it is looked for again."""

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, Protocol, TypeVar

State = Literal["ok", "failed", "skipped"]


class CheckFailedError(RuntimeError):
    """What was asked did not answer as it should; `final` when asking again cannot change that."""

    def __init__(self, message: str, *, final: bool = False) -> None:
        super().__init__(message)
        self.final = final


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report: what was looked at and what was seen, or what is wrong and what to do."""

    name: str
    state: State
    found: str
    final: bool = False

    def as_dict(self) -> dict[str, Any]:
        """The finding as JSON-able data."""
        return asdict(self)


class Pass(Protocol):
    """One look at everything."""

    @property
    def findings(self) -> Sequence[Finding]:
        """What this look found."""


Looked = TypeVar("Looked", bound=Pass)


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a look is repeated: a Service can refuse connections for a second after its pods are ready, and
    captions arrive only when the bootstrap Job has written them.

    Attributes:
        seconds: after so many no further look is begun.
        pause: seconds between two looks.
        waiting: is told before each further look what failed in the last one.
    """

    seconds: float
    pause: float = 1.0
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    waiting: Callable[[Sequence[str]], None] = lambda failed: None

    def look(self, once: Callable[[], Looked]) -> Looked:
        """The first look in which nothing failed, or in which something failed for good, or the last one in time."""
        end = self.clock() + self.seconds
        while True:
            made = once()
            failed = [finding for finding in made.findings if finding.state == "failed"]
            if not failed or any(finding.final for finding in failed) or self.clock() + self.pause > end:
                return made
            self.waiting([finding.name for finding in failed])
            self.sleep(self.pause)


def finding(name: str, look: Callable[[], str]) -> Finding:
    """What `look` says it saw, or its failure."""
    try:
        return Finding(name, "ok", look())
    except CheckFailedError as error:
        return Finding(name, "failed", str(error), error.final)
