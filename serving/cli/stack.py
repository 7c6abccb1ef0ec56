"""`sightline up`, `down` and `status`."""

import time

import typer

from serving.cli.context import Context, PortSettings, of
from serving.cli.output import Output, table
from serving.stack import control
from serving.stack.layout import Layout
from serving.stack.lock import StackBusyError, StackState, is_held, read_state
from serving.stack.ports import HOST, Ports

_LISTENS = {
    "transformer": ("transformer_http", "transformer_grpc"),
    "triton": ("triton_http", "triton_grpc", "triton_metrics"),
    "captioner": ("captioner",),
}


def up(context: typer.Context, port: PortSettings = None) -> None:
    """Start Triton, the transformer and the captioner in the background; train first where nothing is trained yet."""
    given = of(context)
    ports = Ports.parse(port or [])
    try:
        if not is_held(given.layout.run):
            _prepare(given, ports)
        with given.output.notes.status("starting") as status:
            state = control.up(given.layout, ports, status.update)
    except StackBusyError as busy:
        if busy.state is None or busy.state.phase != "ready":
            raise
        given.output.say("the stack is running already")
        state = busy.state
    _show(given.output, given.layout, state)


def down(context: typer.Context) -> None:
    """Stop what `sightline up` started, and anything that a killed stack left behind."""
    given = of(context)
    with given.output.notes.status("stopping"):
        stopped = control.down(given.layout)
    given.output.answer({"stopped": stopped}, "stopped" if stopped else "nothing was running")


def status(context: typer.Context) -> None:
    """Show what runs, where it listens and where its log is; exit code 1 when nothing does."""
    given = of(context)
    state = read_state(given.layout.run)
    if state is None or not is_held(given.layout.run):
        told = f"not running: {state.message}" if state and state.message else "not running; start it: make up"
        given.output.answer({"running": False, "message": told}, told)
        raise typer.Exit(1)
    _show(given.output, given.layout, state)


def _prepare(given: Context, ports: Ports) -> None:
    """Run the offline path where nothing has been made yet; refuse what is broken."""
    from serving.stack import prepared

    if prepared.is_empty(given.layout):
        with given.output.steps() as report:
            prepared.prepare_alone(given.layout, ports, given.output.say, report)
    prepared.verify(given.layout)


def _show(output: Output, layout: Layout, state: StackState) -> None:
    rows = [
        (name, state.pids.get(name, "-"), ", ".join(f"{HOST}:{state.ports[p]}" for p in listens), layout.log(name))
        for name, listens in _LISTENS.items()
    ]
    since = time.strftime("%H:%M:%S", time.localtime(state.started))
    shown = table(f"Sightline, {state.phase} since {since}", ("server", "pid", "listens on", "log"), rows, ("pid",))
    output.answer({"running": True, **state.model_dump()}, shown)
