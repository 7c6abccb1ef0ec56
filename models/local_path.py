"""A path of this machine, as a command line or a setting gives it: a URI is refused, not made a folder `s3:`."""

import re
from argparse import ArgumentTypeError
from pathlib import Path
from typing import Annotated

from pydantic import BeforeValidator

_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:(:\S*)?//")


class NotLocalError(ArgumentTypeError, ValueError):
    """A URI where only a path of this machine can be; argparse shows the text of its own error alone."""


def is_uri(place: str) -> bool:
    """Whether a text is a URI such as s3://bucket/folder, or a chain of them as fsspec writes it."""
    return _URI.match(place) is not None


def local_path(given: str | Path) -> Path:
    """The path that a text names.

    Raises:
        NotLocalError: it is a URI; whoever reads the option adds its name.
    """
    if is_uri(str(given)):
        raise NotLocalError(
            f"{str(given)!r} is a URI; expected a path of this machine: copy files with the store's own tools, "
            "bundles with `sightline models fetch URI --to FOLDER` and `sightline models publish FOLDER --store URI`"
        )
    return Path(given)


LocalPath = Annotated[Path, BeforeValidator(local_path)]
"""The type of such a setting."""
