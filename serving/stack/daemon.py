"""The process behind `sightline up`: holds the lock, prepares what is missing, runs the servers, writes the state.

`python -m serving.stack.daemon --root .sightline --lock FD --token MARK --starter PID [--port NAME=NUMBER ...]`
SIGTERM ends it and all it started. Until every server has answered it also ends with the process that started it.
"""

import argparse
import os
import signal
import sys
import threading
from pathlib import Path

from models.leash import end_with_parent, outlive_parent
from models.printable import printable
from serving.stack import expected, parts, services
from serving.stack.foreground import supervised
from serving.stack.interrupts import Interrupted, end_on_signals
from serving.stack.journal import Journal
from serving.stack.layout import Layout
from serving.stack.ports import Ports
from serving.stack.state import starting_state

PROGRAM = (sys.executable, "-m", "serving.stack.daemon")


def serve(layout: Layout, ports: Ports, token: str, stop: threading.Event) -> None:
    """Run the whole stack until `stop` is set or the process is told to end; the state folder is held by the caller.

    Raises:
        StackError, and what preparing raises: nothing runs any more.
    """
    with supervised(layout, ports, "up", token) as held:
        parts.verify(layout)
        held.supervisor.launch(
            services.triton(layout, ports), services.transformer(layout, ports), services.captioner(layout, ports)
        )
        held.supervisor.wait_ready(held.journal.report)
        outlive_parent()
        held.journal.ready(held.supervisor.pids())
        held.supervisor.watch(stop)


def _prepare(layout: Layout, ports: Ports, token: str) -> None:
    from serving.stack.prepared import prepare_for_up

    with supervised(layout, ports, "up", token) as held:
        prepare_for_up(layout, ports, held)


def main(argv: list[str]) -> int:
    """Parse the command line and serve."""
    parser = argparse.ArgumentParser(prog="python -m serving.stack.daemon")
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--lock", type=int, required=True)
    parser.add_argument("--token", required=True)
    parser.add_argument("--starter", type=int, required=True)
    parser.add_argument("--home", default="", help="whose models: `own`, or the demo's")
    parser.add_argument("--port", action="append", default=[])
    options = parser.parse_args(argv)
    end_on_signals()
    os.set_inheritable(options.lock, False)
    end_with_parent(signal.SIGTERM, options.starter)
    layout, ports = Layout(options.root.resolve(), options.home), Ports.parse(options.port)
    try:
        if parts.unprepared(layout):
            _prepare(layout, ports, options.token)
            os.set_inheritable(options.lock, True)
            os.execv(PROGRAM[0], [*PROGRAM, *argv])  # the same process, without the libraries that train
        serve(layout, ports, options.token, threading.Event())
    except Interrupted:
        return 0  # told to end, and ended
    except Exception as error:
        Journal(layout.run, starting_state(options.token, ports.as_dict())).failed(_said(error))
        if not isinstance(error, expected.errors()):
            raise  # a fault of ours: its traceback belongs into the log
        print(printable(str(error), lines=True), file=sys.stderr)  # noqa: T201 - the daemon's log
        return 1
    return 0


def _said(error: Exception) -> str:
    return str(error) if isinstance(error, expected.errors()) else f"{type(error).__name__}: {error}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
