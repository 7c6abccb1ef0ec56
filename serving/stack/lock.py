"""One stack per state folder: a lock that the kernel drops with its holder, and the state that others may read."""

import fcntl
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import orjson
from pydantic import BaseModel, ConfigDict, ValidationError

from models.files import write_atomic
from serving.stack.errors import StackError

Phase = Literal["starting", "ready", "failed"]


class StackState(BaseModel):
    """What `sightline status`, `up` and `down` know of a stack: written by its supervisor, atomically."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    pid: int
    token: str
    phase: Phase
    message: str = ""
    started: float
    ports: dict[str, int]
    pids: dict[str, int] = {}


class StackBusyError(StackError):
    """Another stack runs on this state folder."""

    def __init__(self, state: StackState | None) -> None:
        self.state = state
        who = (
            f"pid {state.pid}, started {time.strftime('%H:%M:%S', time.localtime(state.started))}"
            if state
            else "starting"
        )
        super().__init__(f"a stack is already running here ({who}); stop it first: make down")


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


def starting_state(token: str, ports: Mapping[str, int]) -> StackState:
    """The first state of a stack that this process supervises."""
    return StackState(pid=os.getpid(), token=token, phase="starting", started=time.time(), ports=dict(ports))


def write_state(run: Path, state: StackState) -> None:
    """Replace the state in one step."""
    write_atomic(run / "stack.json", orjson.dumps(state.model_dump(), option=orjson.OPT_INDENT_2))


def remove_state(run: Path) -> None:
    """Forget the state of a stack that has ended."""
    (run / "stack.json").unlink(missing_ok=True)


@contextmanager
def exclusive(run: Path) -> Iterator[None]:
    """Hold the state folder.

    Raises:
        StackBusyError: another process holds it.
    """
    run.mkdir(parents=True, exist_ok=True)
    handle = os.open(run / "stack.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise StackBusyError(read_state(run)) from error
        yield
    finally:
        os.close(handle)


def is_held(run: Path) -> bool:
    """Whether a stack runs on this state folder now."""
    try:
        with exclusive(run):
            return False
    except StackBusyError:
        return True
