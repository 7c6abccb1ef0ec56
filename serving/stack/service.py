"""One server process of the stack: started on a leash, watched, ended with everything it started."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from models.leash import leashed
from serving.stack.errors import NotReadyError
from serving.stack.orphans import MARK


@dataclass(frozen=True)
class Service:
    """How a server is started and how one sees that it answers.

    `why_not_ready` returns None when the server is ready, else the reason in words; `prepare` runs before each start.
    """

    name: str
    argv: tuple[str, ...]
    log: Path
    why_not_ready: Callable[[], str | None]
    env: Mapping[str, str] = field(default_factory=dict)
    prepare: Callable[[], None] = lambda: None
    start_seconds: float = 300.0  # a machine ten times slower than a quiet one; what has died is noticed at once
    stop_seconds: float = 20.0


class RunningService:
    """A started server. Its process group is its own, so that a Ctrl-C at the terminal reaches the supervisor alone."""

    def __init__(self, service: Service, process: subprocess.Popen[bytes]) -> None:
        self.service = service
        self._process = process

    @classmethod
    def start(cls, service: Service, token: str) -> "RunningService":
        """Start the server, its output appended to its log, marked with the stack's token."""
        service.prepare()
        service.log.parent.mkdir(parents=True, exist_ok=True)
        with service.log.open("ab") as log:
            process = subprocess.Popen(
                leashed(*service.argv),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, **service.env, MARK: token},
                start_new_session=True,
            )
        return cls(service, process)

    @property
    def pid(self) -> int:
        """The server's process id."""
        return self._process.pid

    def exit_code(self) -> int | None:
        """The exit code, or None while it runs."""
        return self._process.poll()

    def wait_ready(self, pause: Callable[[float], None] = time.sleep) -> None:
        """Block until the server answers.

        Raises:
            NotReadyError: it ended first, or its time ran out.
        """
        deadline = time.monotonic() + self.service.start_seconds
        while True:
            code = self.exit_code()
            if code is not None:
                raise NotReadyError(f"{self.service.name} {ended(code)} before it was ready\n{self._log_tail()}")
            reason = self.service.why_not_ready()
            if reason is None:
                return
            if time.monotonic() > deadline:
                seconds = self.service.start_seconds
                raise NotReadyError(
                    f"{self.service.name} was not ready after {seconds:.0f} s: {reason}\n{self._log_tail()}"
                )
            pause(0.1)

    def stop(self) -> int:
        """Ask the server to end, insist after its time, and end what is left of its process group.

        Returns:
            The exit code of the server's own process.
        """
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(self.service.stop_seconds)
            except subprocess.TimeoutExpired:
                self._process.kill()
        with suppress(ProcessLookupError):  # the usual case: the whole group has ended
            os.killpg(self._process.pid, signal.SIGKILL)
        return self._process.wait()

    def _log_tail(self, lines: int = 12) -> str:
        text = self.service.log.read_text(errors="replace").splitlines()[-lines:]
        return "\n".join([f"the end of its log ({self.service.log}):", *(f"  | {line}" for line in text)])


def ended(code: int) -> str:
    """An exit code in words, as subprocess gives it (negative: a signal)."""
    return f"was ended by signal {signal.Signals(-code).name}" if code < 0 else f"exited with code {code}"
