"""Arguments and options of the command line that are paths of this machine."""

from pathlib import Path
from typing import Any

import typer

from models.local_path import NotLocalError, local_path


def path_argument(*, help: str) -> Any:
    """`typer.Argument` for a path; a URI is a usage error."""
    return typer.Argument(parser=_parsed, help=help)


def path_option(*names: str, help: str, envvar: str | None = None) -> Any:
    """`typer.Option` for a path; a URI is a usage error that names the option."""
    return typer.Option(*names, parser=_parsed, metavar="PATH", help=help, envvar=envvar)


def _parsed(given: str | Path) -> Path:
    try:
        return local_path(given)
    except NotLocalError as error:
        raise typer.BadParameter(str(error)) from error
