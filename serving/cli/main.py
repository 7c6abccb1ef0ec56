"""`sightline`: the command line. Each command lives in a module of its own; this one joins them."""

import os
import sys
from pathlib import Path
from typing import Annotated

import typer
import typer.main

from models.version import project_version
from serving.cli import contract, experiment, items, job, models, user
from serving.cli.bench import bench
from serving.cli.caption import caption
from serving.cli.check import check
from serving.cli.context import Context
from serving.cli.demo import demo
from serving.cli.doctor import doctor
from serving.cli.local_path import path_option
from serving.cli.output import Output
from serving.cli.placement import MisplacedOptionError, placed
from serving.cli.rank import rank
from serving.cli.stack import down, status, up
from serving.cli.train import export, train
from serving.stack import expected
from serving.stack.interrupts import Interrupted, end_on_signals
from serving.stack.layout import DEFAULT_ROOT

app = typer.Typer(
    name="sightline",
    help="Ranking that understands pictures: captions, features, training and serving on one machine.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


def _show_version(asked: bool) -> None:
    if asked:
        Output().out.print(f"sightline {project_version()}")
        raise typer.Exit


@app.callback()
def options(
    context: typer.Context,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print JSON instead of tables: one document (job logs: one a line).")
    ] = False,
    root: Annotated[
        Path, path_option("--root", help="The state folder: data, store, bundles, logs.", envvar="SIGHTLINE_ROOT")
    ] = DEFAULT_ROOT,
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", callback=_show_version, is_eager=True)
    ] = False,
) -> None:
    """Options that every command has, before its name or after it."""
    context.obj = Context(Output(as_json), root)


app.command()(demo)
app.command()(up)
app.command()(down)
app.command()(status)
app.command()(caption)
app.command()(rank)
app.command()(check)
app.command()(train)
app.command()(export)
app.add_typer(contract.app, name="contract")
app.add_typer(items.app, name="items")
app.add_typer(user.app, name="user")
app.add_typer(models.app, name="models")
app.add_typer(job.app, name="job")
app.add_typer(experiment.app, name="experiment")
app.command()(bench)
app.command()(doctor)


def main() -> None:
    """Run a command; what the project refuses ends in one message and exit code 1, without a traceback."""
    end_on_signals()
    try:
        completing = "_SIGHTLINE_COMPLETE" in os.environ
        words = sys.argv[1:] if completing else placed(typer.main.get_command(app), sys.argv[1:])
        app(words, prog_name="sightline")
    except MisplacedOptionError as error:
        Output().notes.print(f"error: {error}", style="red", markup=False)
        sys.exit(2)
    except Interrupted as interrupted:
        Output().say(f"ended by {interrupted.number.name}")
        raise
    except expected.errors() as error:
        Output().notes.print(f"error: {error}", style="red", markup=False)
        sys.exit(1)


if __name__ == "__main__":
    main()
