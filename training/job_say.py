"""What a job prints while it works: plain lines, few enough for a log."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from datetime import UTC, datetime

from models.logs import JSON, read_logs
from models.printable import printable, printable_json
from training.run import Progress

EVERY_SECONDS = 3.0


class Told:
    """Prints lines with the seconds since the job began; progress at most every few of them."""

    def __init__(
        self, *, quiet: bool = False, clock: Callable[[], float] = time.monotonic, form: str | None = None
    ) -> None:
        """`form` is that of models/logs.py; the environment's unless it is given. Raises LogsError."""
        self._quiet, self._clock, self._began = quiet, clock, clock()
        self._form = read_logs(os.environ).form if form is None else form
        self._next = self._began

    def say(self, line: str) -> None:
        """Print a line, unless another process says it already."""
        if self._quiet:
            return
        seconds = self._clock() - self._began
        print(_object(line, seconds) if self._form == JSON else f"{seconds:8.1f} s  {printable(line)}", flush=True)  # noqa: T201

    def progress(self, progress: Progress) -> None:
        """Print how far the training runs are, if it is time or all are done."""
        if self._clock() >= self._next or progress.done == progress.total:
            self.say(f"{progress.done:.2f} of {progress.total} training runs done; {progress.doing}")
            self._next = self._clock() + EVERY_SECONDS


def _object(line: str, seconds: float) -> str:
    """A line as the services' JSON logs have it, with the seconds since the job began."""
    said = {
        "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "level": "info",
        "logger": "sightline.job",
        "message": line,
        "seconds": round(seconds, 1),
    }
    return printable_json(json.dumps(said, ensure_ascii=False))
