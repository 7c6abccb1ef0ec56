"""A user's exposures in files: JSON lines as the transformer writes them, plain or gzip, and Parquet made of them."""

from __future__ import annotations

import fcntl
import gzip
import os
import secrets
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from models.experiments.events import pseudonym
from models.files import temporary_prefix
from serving.forgetting.place import Found, PlaceError
from serving.transformer.exposures.part import PART, SUFFIX

WHAT = "exposures"


class FolderPlace:
    """A folder of exposures; they carry pseudonyms, so the site's key is needed."""

    def __init__(self, folder: Path, key: bytes) -> None:
        self.name = f"exposures {folder}"
        self._folder, self._key = folder, key

    def find(self, users: Sequence[str]) -> Found:
        """How many exposures there are, in all files."""
        names = self._names(users)
        return Found({WHAT: sum(_count(path, names) for path in self._files())})

    def forget(self, users: Sequence[str]) -> Found:
        """Write the files that have some anew. A file that a transformer is still writing is left, and is an error."""
        names, removed = self._names(users), 0
        writing: list[str] = []
        for path in self._files():
            count = _count(path, names)
            if count and _is_written(path):
                writing.append(f"{path.name} ({count})")
            elif count:
                _without(path, names)
                removed += count
        if writing:
            raise PlaceError(
                f"removed {removed} exposures; a transformer is still writing {', '.join(writing)}: run the command "
                "again when the file has its final name (after the address' seconds, 300 if it says none)"
            )
        return Found({WHAT: removed})

    def _names(self, users: Sequence[str]) -> list[bytes]:
        return [pseudonym(self._key, user).encode() for user in users]

    def _files(self) -> list[Path]:
        try:
            found = [each for each in sorted(self._folder.iterdir()) if each.is_file()]
        except OSError as cause:
            raise PlaceError(f"cannot be read: {cause.strerror}; give the folder that the transformers fill") from cause
        endings = (SUFFIX, SUFFIX + PART, f"{SUFFIX}.gz", ".parquet")
        return [each for each in found if each.name.endswith(endings)]


def _count(path: Path, names: Sequence[bytes]) -> int:
    with _told(path):
        if path.suffix == ".parquet":
            return _parquet(path, names, None)
        with _opener(path)(path, "rb") as lines:
            return sum(any(name in line for name in names) for line in lines)


def _without(path: Path, names: Sequence[bytes]) -> None:
    temporary = path.with_name(f"{temporary_prefix(path.name)}{secrets.token_hex(4)}")
    try:
        with _told(path):
            if path.suffix == ".parquet":
                _parquet(path, names, temporary)
            else:
                _copy_lines(path, names, temporary)
            shutil.copymode(path, temporary)
            with temporary.open("rb") as file:
                os.fsync(file.fileno())
            temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _copy_lines(path: Path, names: Sequence[bytes], to: Path) -> None:
    opened = _opener(path)
    with opened(path, "rb") as lines, opened(to, "wb") as out:
        out.writelines(line for line in lines if not any(name in line for name in names))


def _opener(path: Path) -> Callable[..., IO[bytes]]:
    """What opens a file of lines as its name says, and its copy under another name."""
    return gzip.open if path.suffix == ".gz" else open  # type: ignore[return-value]


def _parquet(path: Path, names: Sequence[bytes], to: Path | None) -> int:
    """Count the users' rows, and write the others to a file."""
    try:
        import duckdb
    except ImportError as cause:
        raise PlaceError(f"{path.name} is Parquet; install sightline[rollout], which reads it") from cause
    theirs = f"""coalesce("user", '') IN ({", ".join(f"'{name.decode()}'" for name in names)})"""  # hex digits
    try:
        with duckdb.connect() as connection:
            rows = connection.read_parquet(str(path))
            counted = rows.filter(theirs).aggregate("count(*)").fetchall()
            if to is not None:
                rows.filter(f"NOT {theirs}").write_parquet(str(to))
    except duckdb.Error as cause:
        raise PlaceError(f"{path.name} cannot be read: {str(cause).splitlines()[0]}") from cause
    return int(counted[0][0])


def _is_written(path: Path) -> bool:
    if path.suffix != PART:
        return False
    with path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


@contextmanager
def _told(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, EOFError) as cause:
        raise PlaceError(f"{path.name}: {cause}; nothing of this file has changed") from cause
