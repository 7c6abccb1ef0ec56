"""What a stack, or a command that prepares one, tells others of itself: one small file, written atomically."""

import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import orjson
from pydantic import BaseModel, ConfigDict, ValidationError

from models.files import write_atomic
from serving.stack.errors import StackError

Phase = Literal["starting", "ready", "failed"]
Command = Literal["up", "demo", "bench", "caption"]


class Step(BaseModel):
    """What is being done: `done` of `of` (1 where there is nothing to count), begun at a time (Unix seconds)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    done: int
    of: int
    began: float

    def __str__(self) -> str:
        return self.name if self.of <= 1 else f"{self.name}, {self.done:,} of {self.of:,}"


class StackState(BaseModel):
    """What `sightline status`, `up` and `down` know of a stack.

    Attributes:
        pid: who holds the state folder and ends everything on SIGTERM.
        token: the mark of all processes of the stack.
        started, ready: Unix seconds; `ready` is None until every server has answered.
        pids: server name to process id, once ready.
        remarks: what was said on the way, for the person who waits.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    pid: int
    token: str
    phase: Phase
    message: str = ""
    started: float
    ports: dict[str, int]
    pids: dict[str, int] = {}
    command: Command = "up"
    ready: float | None = None
    step: Step | None = None
    remarks: tuple[str, ...] = ()

    @property
    def since(self) -> float:
        """When it got ready, or began."""
        return self.ready or self.started

    @property
    def doing(self) -> str:
        """What it does now, in words."""
        return "ready" if self.phase == "ready" else str(self.step or self.phase)


def read_state(run: Path) -> StackState | None:
    """The state last written, or None.

    Raises:
        StackError: the file is there but is not a state.
    """
    path = run / "stack.json"
    try:
        return StackState.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except ValidationError as error:
        raise StackError(f"{path} is not a stack's state: {error}; delete it") from error


def ready_state(run: Path) -> StackState | None:
    """The state of a stack that has said it is ready, else None."""
    state = read_state(run)
    return state if state is not None and state.phase == "ready" else None


def starting_state(token: str, ports: Mapping[str, int], command: Command = "up", pid: int | None = None) -> StackState:
    """The first state of a stack that this process (or `pid`) supervises."""
    return StackState(
        pid=pid or os.getpid(), token=token, phase="starting", started=time.time(), ports=dict(ports), command=command
    )


def write_state(run: Path, state: StackState) -> None:
    """Replace the state in one step."""
    write_atomic(run / "stack.json", orjson.dumps(state.model_dump(), option=orjson.OPT_INDENT_2))


def remove_state(run: Path) -> None:
    """Forget the state of a stack that has ended."""
    (run / "stack.json").unlink(missing_ok=True)
