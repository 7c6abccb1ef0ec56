"""What a program logs, and how: two variables of the environment, the same for every program."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from models.printable import PrintableFormatter, printable_json

LEVEL_VARIABLE, FORMAT_VARIABLE = "SIGHTLINE_LOG_LEVEL", "SIGHTLINE_LOG_FORMAT"
LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}
TEXT, JSON = "text", "json"


class LogsError(ValueError):
    """A variable that says what is logged has another value; the message names it and what is expected."""


@dataclass(frozen=True, slots=True)
class Logs:
    """Least level of what is logged, a key of LEVELS, and its form: lines of text, or a JSON object a line."""

    level: str = "info"
    form: str = TEXT

    @property
    def number(self) -> int:
        """The level as `logging` has it."""
        return LEVELS[self.level]

    def at_least(self, level: int) -> int:
        """The level of a logger that says too much at `level`: more only if debugging was asked for."""
        return self.number if self.level == "debug" else max(self.number, level)


class JsonFormatter(logging.Formatter):
    """A record as a JSON object in one line: time (RFC 3339, UTC), level, logger, message, and exception if any."""

    def format(self, record: logging.LogRecord) -> str:
        """The object's text."""
        said = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            said["exception"] = self.formatException(record.exc_info)
        return printable_json(json.dumps(said, ensure_ascii=False))


def read_logs(environment: Mapping[str, str]) -> Logs:
    """From the two variables, in small or capital letters; empty is as unset. Raises LogsError."""
    usual = Logs()
    level = environment.get(LEVEL_VARIABLE, "").lower() or usual.level
    form = environment.get(FORMAT_VARIABLE, "").lower() or usual.form
    for variable, value, known in ((LEVEL_VARIABLE, level, LEVELS), (FORMAT_VARIABLE, form, (TEXT, JSON))):
        if value not in known:
            raise LogsError(f"{variable}: is {environment[variable]!r}; expected one of {', '.join(known)}")
    return Logs(level, form)


def log_to_stderr(environment: Mapping[str, str]) -> Logs:
    """Set up the logging of a program, on standard error, as its environment says. Raises LogsError."""
    logs = read_logs(environment)
    handler = logging.StreamHandler(sys.stderr)
    text = PrintableFormatter("%(asctime)s %(levelname)s %(name)s %(message)s")
    handler.setFormatter(JsonFormatter() if logs.form == JSON else text)
    logging.basicConfig(level=logs.number, handlers=[handler])
    return logs
