"""Runs servers and answers for every process that comes of them."""

import signal
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Self

from serving.stack.errors import StackError
from serving.stack.lines import Report
from serving.stack.orphans import end_marked
from serving.stack.service import RunningService, Service, ended


class Supervisor:
    """Starts servers in order and stops them in the reverse order; a context manager that leaves no process behind.

    Its servers carry `token` in their environment and hand it on to whatever they start: after a stop, every process
    that still has it is ended, also one that a killed server left behind.
    """

    def __init__(self, token: str | None = None) -> None:
        self.token = token or uuid.uuid4().hex
        self._running: list[RunningService] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with signals_held():
            self.stop()

    def start(self, *services: Service) -> None:
        """Start the servers together and wait until each is ready.

        Raises:
            NotReadyError: names the server and shows the end of its log.
        """
        self.launch(*services)
        self.wait_ready()

    def launch(self, *services: Service) -> None:
        """Start the servers and go on; `wait_ready` waits for them."""
        for service in services:
            self._running.append(RunningService.start(service, self.token))

    def wait_ready(self, report: Report = lambda step, done, of: None) -> None:
        """Wait until every server is ready, and tell which one is waited for.

        Raises:
            NotReadyError: names the server and shows the end of its log.
        """
        for running in self._running:
            step = f"waiting for the {running.service.name}"
            report(step, 0, 1)
            running.wait_ready()
            report(step, 1, 1)

    def pids(self) -> dict[str, int]:
        """Server name to process id."""
        return {running.service.name: running.pid for running in self._running}

    def failure(self) -> str | None:
        """None while every server runs; otherwise which ended, how, and where its log is."""
        for running in self._running:
            code = running.exit_code()
            if code is not None:
                return f"{running.service.name} {ended(code)}; its log: {running.service.log}"
        return None

    def watch(self, stop: threading.Event, interval: float = 0.25) -> None:
        """Block until `stop` is set.

        Raises:
            StackError: a server ended by itself.
        """
        while not stop.wait(interval):
            failure = self.failure()
            if failure:
                raise StackError(failure)

    def end(self, name: str) -> None:
        """Stop one server."""
        for running in [each for each in self._running if each.service.name == name]:
            running.stop()
            self._running.remove(running)

    def stop(self) -> None:
        """Stop every server, the last started first, and whatever they left."""
        while self._running:
            self._running[-1].stop()
            self._running.pop()
        end_marked(self.token)


@contextmanager
def signals_held() -> Iterator[None]:
    """Keep a second Ctrl-C or SIGTERM from cutting a stop short; in the main thread only, where signals arrive."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    held = {signal.SIGINT, signal.SIGTERM}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, held)
    try:
        yield
    finally:
        while signal.sigtimedwait(held, 0) is not None:
            time.sleep(0)  # repeats of what has just been done
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
