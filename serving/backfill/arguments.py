"""The command line of `python -m serving.backfill.run`. Imports nothing heavy: a wrong option is told at once."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from serving.captioner.hosts import listed_hosts

HOSTS_VARIABLE = "SIGHTLINE_PICTURE_HOSTS"
"""Names the hosts of --picture-host, separated by commas."""
INDEX_VARIABLE = "JOB_COMPLETION_INDEX"
"""Set by Kubernetes in the pods of an Indexed Job."""


@dataclass(frozen=True, slots=True)
class Arguments:
    """What a shard's run is told; see `--help`."""

    data: str
    captioner: str
    store: str
    tokenizer: str | None
    out: str
    shards: int
    shard: int
    recipe: str | None
    wait_seconds: float
    batch: int
    max_failed_share: float
    again: bool
    only_missing: bool
    picture_hosts: frozenset[str]
    replace_data: bool


def parse(argv: Sequence[str] | None, environ: Mapping[str, str]) -> Arguments:
    """Read the command line; ends the process with 2 and the usage when it is wrong."""
    parser = _parser()
    given = parser.parse_args(argv)
    try:
        given.picture_hosts = listed_hosts([*given.picture_hosts, environ.get(HOSTS_VARIABLE, "")])
    except ValueError as error:
        parser.error(f"--picture-host or ${HOSTS_VARIABLE}: {error}")
    if given.shard is None:
        given.shard = _index(parser, environ, given.shards)
    if given.shard >= given.shards:
        parser.error(f"--shard {given.shard} of {given.shards}: shards are numbered from 0 to {given.shards - 1}")
    if given.only_missing and not given.store.startswith(("redis://", "rediss://")):
        parser.error("--only-missing needs a store in Redis, where the transformers note what they miss")
    if given.only_missing and given.replace_data:
        parser.error(
            "--replace-data with --only-missing would leave the store with those items alone; give one of them"
        )
    return Arguments(**vars(given))


def _index(parser: argparse.ArgumentParser, environ: Mapping[str, str], shards: int) -> int:
    index = environ.get(INDEX_VARIABLE, "0" if shards == 1 else "")
    if not index.isdecimal():
        parser.error(f"which of {shards} shards? give --shard, or run in an Indexed Job, which sets {INDEX_VARIABLE}")
    return int(index)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m serving.backfill.run",
        description="Captions one shard of a catalogue and writes items, users and captions.",
        epilog="Exit codes: 0 done; 1 failed, and would fail again; 69 what it needs is away; 75 interrupted, "
        "the same command goes on; 2 usage. A JSON summary is "
        "written to $SIGHTLINE_TERMINATION_LOG, or /dev/termination-log where that exists. The store's password is "
        "$SIGHTLINE_STORE_PASSWORD.",
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--data", required=True, metavar="URI", help="folder with your tables (training/data/README.md)")
    add("--captioner", required=True, metavar="URL", help="the captioning service: http://host:8000")
    add("--store", required=True, metavar="STORE", help="item store to write: a folder, or redis://host:6379/0")
    add("--tokenizer", metavar="URI", help="tokenizer.json for the captions (default: the tiny captioner's)")
    add("--out", required=True, metavar="URI", help="folder for captions-<shard>-of-<shards>.parquet, and for progress")
    add("--shards", type=_count, default=1, metavar="N", help="shards that the catalogue is cut into (default: 1)")
    add("--shard", type=_number, metavar="I", help=f"which one, from 0 (default: ${INDEX_VARIABLE})")
    add(
        "--recipe",
        metavar="NAME|URI",
        help="the training recipe, whose first split counts features (default: within_user)",
    )
    add(
        "--wait-seconds",
        type=_seconds,
        default=600.0,
        metavar="S",
        help="wait for the captioner (default: %(default)g)",
    )
    add("--batch", type=_count, default=256, metavar="N", help="items per step, lost by a kill (default: %(default)s)")
    add(
        "--max-failed-share",
        type=_share,
        default=0.05,
        metavar="X",
        help="fail when more of the pictures than this cannot be captioned (default: %(default)g)",
    )
    add("--again", action="store_true", help="caption anew what has a caption of this captioner, prompt and picture")
    add("--only-missing", action="store_true", help="only items that were ranked without caption, as noted in Redis")
    add(
        "--picture-host",
        dest="picture_hosts",
        action="append",
        default=[],
        metavar="HOST[:PORT]",
        help=f"fetch pictures from this host although its address is private; repeatable (or ${HOSTS_VARIABLE})",
    )
    add(
        "--replace-data",
        action="store_true",
        help="the store may hold another data set: remove its rows (those of --data are written anew in any case)",
    )
    return parser


def _count(text: str) -> int:
    return _bounded(text, 1, "1 or more")


def _number(text: str) -> int:
    return _bounded(text, 0, "0 or more")


def _bounded(text: str, low: int, expected: str) -> int:
    value = int(text)
    if value < low:
        raise argparse.ArgumentTypeError(f"{text!r}: expected {expected}")
    return value


def _seconds(text: str) -> float:
    value = float(text)
    if not 0 <= value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r}: expected seconds, 0 or more")
    return value


def _share(text: str) -> float:
    value = float(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text!r}: expected a share from 0 to 1")
    return value
