"""Files and folders that appear whole or not at all, and only inside the folder that they are meant for."""

import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from models.disk import NoRoomError, is_no_room, no_room

_TEMPORARY = re.compile(r"\..+\.(\d+)-\w{8}")


def temporary_prefix(name: str) -> str:
    """How the temporary file or folder of something called `name` begins: with its writer, see `remove_abandoned`."""
    return f".{name}.{os.getpid()}-"


def remove_abandoned(folder: Path) -> list[Path]:
    """Remove the temporary files and folders directly in `folder` whose writers were killed; returns what was there."""
    found = []
    for path in folder.iterdir() if folder.is_dir() else ():
        match = _TEMPORARY.fullmatch(path.name)
        if match is None or Path(f"/proc/{match[1]}").exists():
            continue
        found.append(path)
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
    return found


class OutsideError(ValueError):
    """A name that does not name a file inside the folder; the message gives the name."""


def inside(folder: Path, name: str) -> Path:
    """The path of the file that `name` names below `folder`: the one way from a foreign name to a path.

    A name is one or more parts between single slashes. Nothing is read but the links that lie in between.

    Args:
        folder: need not exist.
        name: relative, with forward slashes, as manifests, listings and object keys write it.

    Raises:
        OutsideError: the name is absolute, empty, has an empty part, `.`, `..`, a backslash or a character that cannot
            be printed, or a link on the way leads out of the folder.
    """
    if not name.isprintable() or "\\" in name or any(part in ("", ".", "..") for part in name.split("/")):
        raise OutsideError(f"{name!r} is not the name of a file inside a folder; expected parts such as 'a/b.json'")
    path = folder / name
    if not path.resolve().is_relative_to(folder.resolve()):
        raise OutsideError(f"{name!r} leads out of {folder} by a link; expected a file inside it")
    return path


def write_atomic(path: Path, data: bytes) -> None:
    """Write a file under a temporary name beside it, fsync, then rename.

    Raises:
        NoRoomError: the disk is full, its quota used up, or read-only; nothing has changed at `path`.
        OSError: nothing has changed at `path`.
    """
    with room_for(path, len(data)):
        path.parent.mkdir(parents=True, exist_ok=True)
        _replace(path, data)


@contextmanager
def room_for(path: Path, needed: int | None = None) -> Iterator[None]:
    """Turn a full, over-quota or read-only file system met in the block into a `NoRoomError` that names `path`."""
    try:
        yield
    except NoRoomError:
        raise
    except OSError as error:
        if is_no_room(error):
            raise no_room(error, path, needed) from error
        raise


def _replace(path: Path, data: bytes) -> None:
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=temporary_prefix(path.name))
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(0o644)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """A temporary folder beside `path` to fill; it becomes `path` when the block ends well and vanishes when not.

    Raises:
        FileExistsError: `path` exists when the block ends (nothing is overwritten).
        NoRoomError: the disk is full, its quota used up, or read-only.
    """
    with room_for(path), _filled(path) as temporary:
        yield temporary


@contextmanager
def _filled(path: Path) -> Iterator[Path]:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=path.parent, prefix=temporary_prefix(path.name)))
    try:
        yield temporary
        _sync_tree(temporary)
        temporary.chmod(0o755)
        if path.exists():
            raise FileExistsError(f"{path} exists already; choose another name or remove it")
        temporary.rename(path)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    sync_folder(path.parent)


def _sync_tree(folder: Path) -> None:
    for each in folder.rglob("*"):
        if each.is_file():
            with each.open("rb") as file:
                os.fsync(file.fileno())
        elif each.is_dir():
            sync_folder(each)
    sync_folder(folder)


def sync_folder(folder: Path) -> None:
    """Bring the folder's list of names to the disk: a file that was renamed has its new name after a crash, too."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
