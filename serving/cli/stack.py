"""`sightline up`, `down` and `status`."""

import time

import typer

from serving.cli.context import Demo, PortSettings, of
from serving.cli.output import Output, table
from serving.stack import control
from serving.stack.layout import Layout
from serving.stack.lines import Report
from serving.stack.lock import StackBusyError, is_held
from serving.stack.ports import HOST, Ports
from serving.stack.state import StackState, read_state

_LISTENS = {
    "transformer": ("transformer_http", "transformer_grpc"),
    "triton": ("triton_http", "triton_grpc", "triton_metrics"),
    "captioner": ("captioner",),
}


def up(
    context: typer.Context,
    port: PortSettings = None,
    demo: Demo = False,
) -> None:
    """Start Triton, the transformer and the captioner in the background, with the models of your own data.

    Where there are none (or with --demo) the demo's are served, and made first where they are not there.
    """
    given = of(context)
    ports, layout = Ports.parse(port or []), given.served(demo)
    try:
        with given.output.steps() as report:
            state = control.up(layout, ports, _follower(given.output, report))
    except StackBusyError as busy:
        if busy.state is None or busy.state.phase != "ready" or busy.state.command != "up":
            raise
        given.output.say("the stack is running already")
        state = busy.state
    _show(given.output, given.layout, state)


def down(context: typer.Context) -> None:
    """Stop what runs on the state folder, whoever started it, and anything that a killed stack left behind."""
    given = of(context)
    with given.output.working("stopping"):
        stopped = control.down(given.layout)
    given.output.answer({"stopped": stopped}, "stopped" if stopped else "nothing was running")


def status(context: typer.Context) -> None:
    """Show what runs, where it listens and where its log is; exit code 1 when nothing does."""
    given = of(context)
    state = read_state(given.layout.run)
    if state is None or not is_held(given.layout.run):
        told = f"not running: {state.message}" if state and state.message else "not running; start it: sightline up"
        given.output.answer({"running": False, "message": told}, told)
        raise typer.Exit(1)
    _show(given.output, given.layout, state)


def _follower(output: Output, report: Report) -> control.Follow:
    """Tells of a stack that another process starts, from its state."""
    told = 0

    def follow(state: StackState) -> None:
        nonlocal told
        for remark in state.remarks[told:]:
            output.say(remark)
        told = len(state.remarks)
        if state.step is not None:
            report(state.step.name, state.step.done, state.step.of)
        else:
            report("starting", 0, 1)

    return follow


def _show(output: Output, layout: Layout, state: StackState) -> None:
    rows = [
        (name, state.pids.get(name, "-"), ", ".join(f"{HOST}:{state.ports[p]}" for p in listens), layout.log(name))
        for name, listens in _LISTENS.items()
    ]
    since = time.strftime("%H:%M:%S", time.localtime(state.since))
    title = f"Sightline, {'ready' if state.phase == 'ready' else f'{state.command} at work'} since {since}"
    if state.step is not None:
        title += f": {state.step}"
    shown = table(title, ("server", "pid", "listens on", "log"), rows, ("pid",))
    output.answer({"running": True, **state.model_dump()}, shown)
