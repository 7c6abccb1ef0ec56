"""The process behind `sightline up`: holds the lock, runs the servers, writes the state.

`python -m serving.stack.daemon --root .sightline [--port NAME=NUMBER ...]`; SIGTERM ends it and all it started.
"""

import argparse
import signal
import sys
import threading
from pathlib import Path
from types import FrameType
from typing import NoReturn

from serving.stack import services
from serving.stack.errors import StackError
from serving.stack.layout import Layout
from serving.stack.lock import exclusive, remove_state, starting_state, write_state
from serving.stack.ports import Ports
from serving.stack.supervisor import Supervisor


def serve(layout: Layout, ports: Ports, stop: threading.Event) -> None:
    """Run the whole stack until `stop` is set or the process is told to end.

    Raises:
        StackError: the stack is running already, or a server failed; the state then says the same.
    """
    with exclusive(layout.run):
        with Supervisor() as supervisor:
            state = starting_state(supervisor.token, ports.as_dict())
            write_state(layout.run, state)
            try:
                supervisor.start(
                    services.triton(layout, ports),
                    services.transformer(layout, ports),
                    services.captioner(layout, ports),
                )
                state = state.model_copy(update={"phase": "ready", "pids": supervisor.pids()})
                write_state(layout.run, state)
                supervisor.watch(stop)
            except StackError as error:
                write_state(layout.run, state.model_copy(update={"phase": "failed", "message": str(error)}))
                raise
        remove_state(layout.run)


def end_on_signals() -> None:
    """Turn SIGTERM and SIGINT into SystemExit, which runs every clean-up on its way."""

    def leave(number: int, frame: FrameType | None) -> NoReturn:
        raise SystemExit(128 + number)

    signal.signal(signal.SIGTERM, leave)
    signal.signal(signal.SIGINT, leave)


def main(argv: list[str]) -> int:
    """Parse the command line and serve."""
    parser = argparse.ArgumentParser(prog="python -m serving.stack.daemon")
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--port", action="append", default=[])
    options = parser.parse_args(argv)
    end_on_signals()
    layout = Layout(options.root.resolve())
    try:
        serve(layout, Ports.parse(options.port), threading.Event())
    except StackError as error:
        print(error, file=sys.stderr)  # noqa: T201 - the daemon's log
        return 1
    except SystemExit:
        remove_state(layout.run)  # told to end, and ended: there is nothing left to tell
        return 0
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
