"""`python -m training.demo --out DIR`: make the material of the demo that a fresh install serves."""

import argparse
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

from models.local_path import local_path
from training.demo.build import Made, build
from training.lift import Gain


def main(words: list[str] | None = None) -> int:
    """Make the folder and print what was planted beside what was measured."""
    parser = argparse.ArgumentParser(prog="python -m training.demo", description=__doc__)
    parser.add_argument("--out", type=local_path, required=True, help="the folder to make; it must not exist")
    parser.add_argument("--seed", type=int, default=1, help="of the made-up world (default 1)")
    parser.add_argument("--created", help="ISO 8601 time for the bundles' manifests, with its zone (default: now)")
    parser.add_argument("--git-revision", default="unknown", help="for the bundles' manifests")
    given = parser.parse_args(words)
    started = time.monotonic()
    created = given.created or datetime.now(UTC).isoformat(timespec="seconds")
    try:
        made = build(given.out, created=created, git_revision=given.git_revision, seed=given.seed, say=_say)
    except FileExistsError as error:
        _say(f"error: {error}")
        return 1
    sys.stdout.write(_summary(made, given.out, time.monotonic() - started))
    return 0


def _summary(made: Made, out: Path, seconds: float) -> str:
    truth = made.world.truth
    lines = [f"planted: pictures are worth {truth.lift:+.4f} AUC to the best possible ranker of new items"]
    for split in made.report.splits:
        lift = split.lift
        lines.append(f"measured, {split.split}: {_shown(lift)}")
    return "\n".join([*lines, f"contract {made.contract_digest}", f"{out}, {seconds:.0f} s"]) + "\n"


def _shown(lift: Gain) -> str:
    if lift.difference is None:
        return "no AUC, as the test rows have one class only"
    return f"{lift.difference:+.4f} AUC [{lift.low:+.4f}, {lift.high:+.4f}], {lift.verdict}"


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")


if __name__ == "__main__":
    sys.exit(main())
