"""`sightline bench`."""

import typer

from serving.cli.context import PortSettings, of


def bench(context: typer.Context, port: PortSettings = None) -> None:
    """Measure speed and memory."""
    of(context)
