"""The command line of `python -m training.job`. Nothing heavy is imported here: a wrong option is told at once."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from models.local_path import local_path


def parse(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line; ends the process with 2 and the usage when it is wrong."""
    parser = _parser()
    arguments = parser.parse_args(argv)
    if arguments.job == "train" and arguments.out is None and arguments.out_store is None:
        parser.error("train: give --out-store, --out or both; else the bundles would go nowhere")
    if arguments.job == "lift" and arguments.captions == "none":
        parser.error("lift: there is nothing to measure without captions; give --captions")
    return arguments


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m training.job",
        description="Sightline's offline jobs, as a Kubernetes Job runs them.",
        epilog="Exit codes: 0 done; 1 failed, and would fail again; 2 usage; "
        "69 a store did not answer, or a disk takes no more; 75 interrupted, the same command goes on. "
        "A JSON summary is written to $SIGHTLINE_TERMINATION_LOG, or /dev/termination-log where that exists.",
        allow_abbrev=False,
    )
    jobs = parser.add_subparsers(dest="job", required=True, metavar="train|lift|publish")
    train = jobs.add_parser(
        "train",
        help="train with and without captions, measure the lift, write and publish both bundles",
        allow_abbrev=False,
    )
    _add_inputs(train)
    train.add_argument("--out-store", metavar="URI", help="model store to publish both bundles to")
    train.add_argument(
        "--name", default="ranker", help="name in the model store; its ablation is NAME-ids (default: %(default)s)"
    )
    _add_force(train)
    lift = jobs.add_parser("lift", help="train, measure the lift and report it; no bundle", allow_abbrev=False)
    _add_inputs(lift)
    publish = jobs.add_parser("publish", help="publish a bundle that exists to a model store", allow_abbrev=False)
    publish.add_argument(
        "--bundle", required=True, metavar="URI", help="a bundle's folder, or an entry of a model store: path or URI"
    )
    publish.add_argument("--out-store", required=True, metavar="URI", help="model store to publish to")
    publish.add_argument("--name", help="name in the model store (default: the bundle's own)")
    _add_force(publish)
    return parser


def _add_force(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--force", action="store_true", help="publish a ranker that is far below the item mean, too")


def _add_inputs(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--recipe", required=True, metavar="NAME|URI", help="a recipe of the project by its name, or a YAML file"
    )
    parser.add_argument(
        "--data", required=True, metavar="URI", help="folder with your tables (training/data/README.md), or: movielens"
    )
    parser.add_argument(
        "--captions",
        required=True,
        metavar="URI",
        help="folder with the backfill's captions-*-of-*.parquet, or: none (every item is then without a caption)",
    )
    parser.add_argument(
        "--tokenizer", metavar="URI", help="tokenizer.json for the captions (default: the tiny captioner's)"
    )
    parser.add_argument(
        "--work",
        required=True,
        type=local_path,
        metavar="DIR",
        help="checkpoints and finished runs; the same folder again goes on from them",
    )
    parser.add_argument("--out", type=local_path, metavar="DIR", help="folder for the bundles (train) and lift.json")
    parser.add_argument(
        "--checkpoint-seconds", type=_positive, metavar="S", help="save this often (default: the recipe's)"
    )
    parser.add_argument(
        "--workers", type=_count, metavar="N", help="training runs at the same time (default: the recipe's)"
    )
    parser.add_argument(
        "--distributed", action="store_true", help="this process is one of torchrun's, which share every batch"
    )
    parser.add_argument(
        "--rank-timeout",
        type=_positive,
        default=300.0,
        metavar="S",
        help="with --distributed: a process that another one waits for this long is lost (default: %(default)s)",
    )


def _positive(text: str) -> float:
    value = float(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r}: expected seconds above 0")
    return value


def _count(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text!r}: expected 1 or more")
    return value
