"""Captions as the backfill leaves them: `captions-<shard>-of-<shards>.parquet`, a file per finished shard.

Columns: item_id, caption (null where the captioner failed), captioner, prompt.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from pathlib import PurePosixPath
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq

from training.data.errors import DataError

COLUMNS = ("item_id", "caption", "captioner", "prompt")
_NAME = re.compile(r"captions-(\d+)-of-(\d+)\.parquet")
_SHOWN = 10


class CaptionsError(DataError):
    """The folder does not hold all captions of one backfill; the message says what is missing."""


def read_captions(location: str, items: Collection[str], say: Callable[[str], None]) -> dict[str, str]:
    """The captions of a complete set of shards, by item id, for those of `items` that have one.

    Raises:
        CaptionsError: no such folder, a shard is missing or damaged, an item is in two of them, or none of
            the captions is of any of `items`.
    """
    filesystem, folder = _folder(location)
    captions: dict[str, str] = {}
    makers: Counter[tuple[str, str]] = Counter()
    owner: dict[str, str] = {}
    for path in _complete(location, filesystem, folder):
        name = PurePosixPath(path).name
        for row in _rows(filesystem, path, f"{location}/{name}"):
            item = str(row["item_id"])
            if item in owner:
                raise CaptionsError(
                    f"{location}: item {item!r} is in {owner[item]} and in {name}; "
                    "expected each once: run the backfill again into an empty folder"
                )
            owner[item] = name
            if row["caption"] is not None and item in items:
                captions[item] = row["caption"]
                makers[row["captioner"], row["prompt"]] += 1
    if owner and not captions:
        raise CaptionsError(
            f"{location}: none of its {len(owner)} items, such as {next(iter(owner))!r}, is an item of the data with "
            "a caption; give the captions of this data's backfill"
        )
    for (captioner, prompt), count in makers.most_common():
        say(f"{count} captions by {captioner}, prompt {prompt!r}")
    return captions


def _folder(location: str) -> tuple[Any, str]:
    try:
        filesystem, folder = fsspec.url_to_fs(location)
        there = filesystem.isdir(folder)
    except (OSError, ValueError, ImportError) as error:
        raise CaptionsError(f"--captions {location}: {error}; give a folder's path or URI, or: none") from error
    if not there:
        raise CaptionsError(f"--captions {location}: no such folder; run the backfill, or give: none")
    return filesystem, folder


def _complete(location: str, filesystem: Any, folder: str) -> list[str]:
    """The paths of all shards, in their order."""
    found: dict[int, str] = {}
    counts: set[int] = set()
    for path in filesystem.ls(folder, detail=False):
        if named := _NAME.fullmatch(PurePosixPath(path).name):
            found[int(named[1])] = path
            counts.add(int(named[2]))
    if len(counts) != 1:
        held = f"shards of {len(counts)} backfills, of {sorted(counts)} shards" if counts else "no captions"
        raise CaptionsError(f"{location}: holds {held}; expected captions-*-of-*.parquet of one finished backfill")
    total = counts.pop()
    if missing := sorted(set(range(total)) - set(found)):
        listed = ", ".join(map(str, missing[:_SHOWN])) + (", …" if len(missing) > _SHOWN else "")
        raise CaptionsError(
            f"{location}: {len(missing)} of {total} shards are missing: {listed}; "
            "wait for the backfill, or run it again"
        )
    if extra := sorted(set(found) - set(range(total))):
        raise CaptionsError(f"{location}: has shards {extra}; expected 0 to {total - 1}: remove the others")
    return [found[number] for number in range(total)]


def _rows(filesystem: Any, path: str, where: str) -> list[Mapping[str, Any]]:
    try:
        with filesystem.open(path, "rb") as file:
            table = pq.ParquetFile(file).read(columns=list(COLUMNS))
    except (pa.ArrowException, OSError) as error:
        raise CaptionsError(
            f"{where}: cannot be read ({str(error).splitlines()[0]}); remove it and run the backfill again"
        ) from error
    if missing := set(COLUMNS) - set(table.column_names):
        raise CaptionsError(f"{where}: lacks {sorted(missing)}; it has {table.column_names}: run the backfill again")
    rows: list[Mapping[str, Any]] = table.to_pylist()
    return rows
