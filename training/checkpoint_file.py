"""A checkpoint's file and the one before it: sealed by a checksum, and a damaged one set aside.

<name>.safetensors             the newest state: a safetensors file with its own sha256 in the metadata
<name>.safetensors.previous    the state before it
<name>.safetensors[.previous].damaged    was not what had been written; kept for whoever looks after the disk
"""

from __future__ import annotations

import errno
import hashlib
import json
import logging
import re
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from safetensors.torch import save
from torch import Tensor

from models.files import room_for, write_atomic

_LOG = logging.getLogger(__name__)
_STATE = "sightline.training.3"
_SEAL = "sha256"
_UNSEALED = b"0" * 64
_OLDER = re.compile(rb'"sightline\.training\.[12]"')
_BEGINNING = 1 << 20
_DAMAGED = ".damaged"


class CheckpointError(ValueError):
    """A checkpoint that cannot be gone on from; says what differs and what to do."""


class DamagedCheckpointError(CheckpointError):
    """It is not what was written, or an earlier version of the project wrote it: nothing in it may be used."""


def sealed(tensors: Mapping[str, Tensor], state: Mapping[str, Any]) -> bytes:
    """A safetensors file that carries the sha256 of itself, taken with 64 zeros in the checksum's place."""
    blank: bytes = save(dict(tensors), {_STATE: json.dumps({**state, _SEAL: _UNSEALED.decode()}, sort_keys=True)})
    return blank.replace(_UNSEALED, hashlib.sha256(blank).hexdigest().encode(), 1)


def unsealed(data: bytes, where: str) -> dict[str, Any]:
    """The state in a file whose every byte is as it was written.

    Raises:
        DamagedCheckpointError: names what was found and what was expected.
    """
    try:
        metadata = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])["__metadata__"]
        state = dict(json.loads(metadata[_STATE]))
        seal = str(state.pop(_SEAL))
    except (KeyError, ValueError, TypeError) as error:
        if _OLDER.search(data[:_BEGINNING]):
            raise DamagedCheckpointError(
                f"{where} has no checksum: an earlier version wrote it, and nobody can tell whether it is whole"
            ) from error
        raise DamagedCheckpointError(f"{where} is damaged: it does not begin as a checkpoint does") from error
    found = hashlib.sha256(data.replace(seal.encode(), _UNSEALED, 1)).hexdigest()
    if found != seal:
        raise DamagedCheckpointError(f"{where} is damaged: its content has sha256 {found}, it was written with {seal}")
    return state


def keep(path: Path, data: bytes) -> None:
    """Write the newest state, whole or not at all, and keep the one that was there as the previous one.

    Raises:
        NoRoomError: both are as they were.
    """
    staged = path.with_name(f".{path.name}.new")
    write_atomic(staged, data)
    with suppress(FileNotFoundError):  # the first state, or another process of the same run did it
        path.replace(_previous(path))
    with suppress(FileNotFoundError):
        staged.replace(path)


def newest_whole(path: Path) -> tuple[bytes, str] | None:
    """The newest state that is whole, and its file's name; a damaged one is set aside and told loudly.

    Raises:
        CheckpointError: a file is there and may not be read.
        NoRoomError: a damaged one cannot be set aside, as the file system is read-only.
    """
    for file in (path, _previous(path)):
        try:
            data = file.read_bytes()
            unsealed(data, str(file))
        except FileNotFoundError:
            continue
        except DamagedCheckpointError as error:
            _set_aside(file, str(error))
        except OSError as error:
            if error.errno != errno.EIO:
                raise CheckpointError(f"{file} cannot be read ({error.strerror}); remove it to start anew") from error
            _set_aside(file, f"{file} is damaged: the disk cannot read it")
        else:
            return data, str(file)
    return None


def forget(folder: Path) -> None:
    """Remove all states in a folder, and what a killed process left of one; what was set aside stays."""
    for pattern in ("*.safetensors", "*.safetensors.previous", ".*.safetensors.*"):
        for file in folder.glob(pattern):
            file.unlink(missing_ok=True)


def set_aside(folder: Path) -> list[Path]:
    """The damaged files of a folder."""
    return sorted(folder.glob(f"*{_DAMAGED}"))


def _previous(path: Path) -> Path:
    return path.with_name(f"{path.name}.previous")


def _set_aside(file: Path, fault: str) -> None:
    aside = file.with_name(f"{file.name}{_DAMAGED}")
    with room_for(aside), suppress(FileNotFoundError):
        file.replace(aside)
    _LOG.error(
        "CHECKPOINT SET ASIDE: %s. It is kept as %s; the training run goes on from the state before it, "
        "or starts over where there is none",
        fault,
        aside,
    )
