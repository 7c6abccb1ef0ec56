"""`sightline`: the command line. Each command lives in a module of its own; this one joins them."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from serving.cli import contract, expected, experiment, job, models
from serving.cli.bench import bench
from serving.cli.caption import caption
from serving.cli.check import check
from serving.cli.context import Context
from serving.cli.demo import demo
from serving.cli.doctor import doctor
from serving.cli.output import Output
from serving.cli.rank import rank
from serving.cli.stack import down, status, up
from serving.cli.train import export, train

app = typer.Typer(
    name="sightline",
    help="Ranking that understands pictures: captions, features, training and serving on one machine.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)


@app.callback()
def options(
    context: typer.Context,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document instead of tables.")] = False,
    root: Annotated[
        Path, typer.Option("--root", help="The state folder: data, store, bundles, logs.", envvar="SIGHTLINE_ROOT")
    ] = Path(".sightline"),
) -> None:
    """Options that every command has."""
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
app.add_typer(models.app, name="models")
app.add_typer(job.app, name="job")
app.add_typer(experiment.app, name="experiment")
app.command()(bench)
app.command()(doctor)


def main() -> None:
    """Run a command; what the project refuses ends in one message and exit code 1, without a traceback."""
    try:
        app(standalone_mode=True)
    except expected.errors() as error:
        Output().notes.print(f"error: {error}", style="red", markup=False)
        sys.exit(1)


if __name__ == "__main__":
    main()
