"""The captioning service on one machine: `python -m serving.captioner.run --port 8001 --preset tiny`.

Starts a Ray of its own (loopback, no dashboard, no usage reports), serves until SIGTERM or SIGINT, and ends
every process that it started. Exit codes: 0 stopped by a signal, 1 could not start or Ray died,
2 unusable settings, 3 port in use.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, NoReturn, TextIO

from pydantic import BaseModel

from models.logs import LogsError, read_logs
from serving.captioner.loader import loader
from serving.captioner.local_ray import (
    USAGE,
    RayDiedError,
    StartError,
    check_port,
    check_ray,
    deploy,
    ray_run,
    start_ray,
    stop_ray,
)
from serving.captioner.settings import (
    PREFIX,
    CaptionerSettings,
    MachineSettings,
    SettingsError,
    read_machine,
    read_settings,
)

if TYPE_CHECKING:
    from models.captioner.caption import Captioner


_CHECK_S = 1.0


class _StopServing(BaseException):
    """SIGTERM or SIGINT arrived."""


class _Stop:
    """A signal handler that ends whatever runs, and remembers that it did."""

    def __init__(self) -> None:
        self.requested = False

    def __call__(self, number: int, frame: FrameType | None) -> NoReturn:
        self.requested = True
        raise _StopServing


def main(argv: Sequence[str] | None = None) -> int:
    """Parse flags, serve until a signal, return the exit code."""
    arguments = vars(_parser().parse_args(argv))
    try:
        read_logs(os.environ)
        machine = read_machine(os.environ, _of(MachineSettings, arguments))
        settings = read_settings(os.environ, _of(CaptionerSettings, arguments))
        os.environ[f"{PREFIX}MAX_CONNECTIONS"] = str(machine.max_connections)  # read in the proxy's process
        serve_until_signal(machine, settings, loader(settings))
    except (LogsError, SettingsError) as error:
        return _complain(error, USAGE)
    except StartError as error:
        return _complain(error, error.exit_code)
    return 0


def serve_until_signal(machine: MachineSettings, settings: CaptionerSettings, load: Callable[[], Captioner]) -> None:
    """Serve captions of the captioner that `load` makes, until SIGTERM or SIGINT; then end Ray.

    When Ray dies in between, the process is ended with exit code 1.

    Raises:
        StartError: the port is taken, or Ray or a replica did not start.
    """
    stop = _Stop()
    _on_signals(stop)
    try:
        check_port(machine.host, machine.port)
        with ray_run(machine.temp_dir) as folder:
            _serve(machine, settings, load, folder, stop)
    except RayDiedError as error:
        _complain(error, error.exit_code)
        os._exit(error.exit_code)  # Ray's exit handlers would wait a minute for the daemons that are gone
    except BaseException as end:
        # A library that is interrupted while it is imported or starts may raise something else than the signal's
        # exception; and while Ray starts, a handler of its own turns SIGTERM into SystemExit.
        asked = isinstance(end, SystemExit) and end.code == signal.SIGTERM
        if not (stop.requested or asked):
            raise
    _say(sys.stdout, "stopped")


def _serve(
    machine: MachineSettings,
    settings: CaptionerSettings,
    load: Callable[[], Captioner],
    folder: Path,
    stop: _Stop,
) -> None:
    try:
        start_ray(machine, settings, folder)
        _on_signals(stop)  # Ray has put its own handler in place
        from serving.captioner.app import application

        deploy(application(settings, load, one_machine=True))
        scheme = "http" if machine.tls_certificate is None else "https"
        _say(sys.stdout, f"ready on {scheme}://{machine.host}:{machine.port}")
        while not stop.requested:
            check_ray()
            time.sleep(_CHECK_S)
    finally:
        _on_signals(signal.SIG_IGN)  # a second Ctrl-C must not leave processes behind
        stop_ray()


def _on_signals(handler: Callable[[int, FrameType | None], NoReturn] | signal.Handlers) -> None:
    signal.signal(signal.SIGTERM, handler)
    signal.signal(signal.SIGINT, handler)


def _complain(error: Exception, code: int) -> int:
    _say(sys.stderr, str(error))
    return code


def _say(stream: TextIO, text: str) -> None:
    stream.write(f"captioner: {text}\n")
    stream.flush()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m serving.captioner.run",
        description="Serve captions on one machine. Every flag is also an environment variable "
        f"{PREFIX}<NAME>; lists are separated by commas.",
        allow_abbrev=False,
    )
    for kind in (MachineSettings, CaptionerSettings):
        for name, field in kind.model_fields.items():
            default = ",".join(field.default) if isinstance(field.default, tuple) else field.default
            text = f"{field.description} (default: {'none' if default in (None, '') else default})"
            parser.add_argument(f"--{name.replace('_', '-')}", default=argparse.SUPPRESS, help=text)
    return parser


def _of(kind: type[BaseModel], arguments: dict[str, object]) -> dict[str, object]:
    return {name: value for name, value in arguments.items() if name in kind.model_fields}


if __name__ == "__main__":
    sys.exit(main())
