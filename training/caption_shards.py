"""Captions as the backfill leaves them: `captions-<shard>-of-<shards>.parquet`, a file per finished shard.

Columns: item_id, caption (null where the captioner failed), captioner, prompt, image (sha256 of the picture's bytes),
place (where it was read). A caption counts for an item only if it is of the picture that the item has now: ids of two
data sets may coincide, and pictures are replaced.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq

from training.data.dataset import Dataset
from training.data.errors import DataError

COLUMNS = ("item_id", "caption", "captioner", "prompt")
PICTURE_COLUMNS = ("image", "place")
_NAME = re.compile(r"captions-(\d+)-of-(\d+)\.parquet")
_SHOWN = 10


class CaptionsError(DataError):
    """The folder does not hold all captions of one backfill; the message says what is missing."""


def read_captions(location: str, dataset: Dataset, say: Callable[[str], None]) -> dict[str, str]:
    """The captions of a complete set of shards, by item id, of the pictures that the data's items have.

    A picture on this machine is read, and its sha256 compared; of another one its place is compared.

    Raises:
        CaptionsError: no such folder, a shard is missing or damaged, an item is in two of them, they do not say of
            which pictures they are, or none of them is of a picture of `dataset`.
    """
    filesystem, folder = _folder(location)
    pictures = dict(zip(dataset.items["item_id"], dataset.items["image"], strict=True))
    captions: dict[str, str] = {}
    stale: list[str] = []
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
            if row["caption"] is None or item not in pictures:
                continue
            if not _is_of(row, pictures[item], f"{location}/{name}"):
                stale.append(item)
                continue
            captions[item] = row["caption"]
            makers[row["captioner"], row["prompt"]] += 1
    _refuse_foreign(location, owner, captions, stale, dataset)
    for (captioner, prompt), count in makers.most_common():
        say(f"{count} captions by {captioner}, prompt {prompt!r}")
    if stale:
        say(f"{len(stale)} captions are of other pictures than their items have now, and do not count: {_some(stale)}")
    return captions


def _refuse_foreign(
    location: str, owner: Mapping[str, str], captions: Mapping[str, str], stale: Sequence[str], dataset: Dataset
) -> None:
    if not owner or captions:
        return
    if stale:
        raise CaptionsError(
            f"{location}: has {len(stale)} captions of items with the ids of this data ({dataset.digest[:19]}), and "
            f"none is of the picture that its item has now ({_some(stale)}): they are another data set's, or every "
            "picture was replaced; run the backfill of this data"
        )
    raise CaptionsError(
        f"{location}: none of its {len(owner)} items, such as {next(iter(owner))!r}, is an item of the data with "
        "a caption; give the captions of this data's backfill"
    )


def _is_of(row: Mapping[str, Any], picture: str | None, where: str) -> bool:
    """Whether a caption is of the picture at this place (a path, or a URI)."""
    if picture is None:
        return False
    if "://" not in picture and row["image"]:
        try:
            with Path(picture).open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest() == str(row["image"])
        except OSError:  # not there now: then its place says whether it is the same
            return bool(row["place"] == picture)
    if not row["place"]:
        raise CaptionsError(
            f"{where}: does not say of which pictures its captions are (an earlier version wrote it); run the backfill "
            "again with the same --out: it keeps the captions of pictures that have not changed"
        )
    return bool(row["place"] == picture)


def _some(items: Sequence[str]) -> str:
    return ", ".join(map(repr, items[:_SHOWN])) + (", …" if len(items) > _SHOWN else "")


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
            columns = [*COLUMNS, *PICTURE_COLUMNS]
            table = pq.ParquetFile(file, page_checksum_verification=True).read(columns=columns)
    except (pa.ArrowException, OSError) as error:
        raise CaptionsError(
            f"{where}: cannot be read ({str(error).splitlines()[0]}); remove it and run the backfill again"
        ) from error
    if missing := set(COLUMNS) - set(table.column_names):
        raise CaptionsError(f"{where}: lacks {sorted(missing)}; it has {table.column_names}: run the backfill again")
    texts = [name for name in table.column_names if not _is_text(table.schema.field(name).type)]
    if texts:
        raise CaptionsError(
            f"{where}: {texts} are no texts: the file was changed; remove it and run the backfill again"
        )
    absent = dict.fromkeys(set(PICTURE_COLUMNS) - set(table.column_names))
    return [{**absent, **row} for row in table.to_pylist()]


def _is_text(kind: pa.DataType) -> bool:
    texts = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view, pa.types.is_null)
    return any(is_kind(kind) for is_kind in texts)
