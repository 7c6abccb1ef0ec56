"""`sightline`: the command line. Each command lives in a module of its own; this one joins them."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from serving.cli import expected
from serving.cli.context import Context
from serving.cli.output import Output

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


def main() -> None:
    """Run a command; what the project refuses ends in one message and exit code 1, without a traceback."""
    from serving.cli import commands

    commands.register(app)
    try:
        app(standalone_mode=True)
    except KeyboardInterrupt:
        Output().say("interrupted; everything that was started has been stopped")
        sys.exit(130)
    except expected.errors() as error:
        Output().notes.print(f"error: {error}", style="red", markup=False)
        sys.exit(1)


if __name__ == "__main__":
    main()
