"""Temporary space on this machine, and what is said when there is none."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from models.store.errors import ModelStoreError


@contextmanager
def scratch(purpose: str) -> Iterator[Path]:
    """An empty folder that is removed at the end.

    Raises:
        ModelStoreError: it cannot be made or written (read-only file system, no space).
    """
    with writing(Path("TMPDIR")), tempfile.TemporaryDirectory(prefix=f"sightline-{purpose}-") as folder:
        yield Path(folder)


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Turns the system's refusal to write below `folder` into a ModelStoreError."""
    try:
        yield
    except OSError as error:
        raise ModelStoreError(
            f"{error.filename or folder} cannot be written ({error.strerror or error}); give a folder that can be, or "
            "make room (temporary files go to the folder that TMPDIR names, /tmp if it is not set)"
        ) from error
