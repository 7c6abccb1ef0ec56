"""What every command is given: how to print and where the state folder is."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from serving.cli.output import Output
from serving.stack.layout import Layout


@dataclass(frozen=True)
class Context:
    """The common options."""

    output: Output
    root: Path

    @property
    def layout(self) -> Layout:
        """The state folder's places."""
        return Layout(self.root.resolve())

    def served(self, demo: bool) -> Layout:
        """The places that `sightline up` serves from."""
        from serving.stack import parts

        return parts.served(self.layout, demo)


def of(context: typer.Context) -> Context:
    """The common options of a command's invocation."""
    found = context.find_object(Context)
    assert found is not None, "the application's callback sets it"
    return found


Demo = Annotated[bool, typer.Option("--demo", help="The demo's models and items although there are your own.")]

PortSettings = Annotated[
    list[str] | None,
    typer.Option(
        "--port",
        envvar="SIGHTLINE_PORTS",
        help="Move a server: NAME=NUMBER, repeated (names: see `sightline up --port x=1`).",
    ),
]
