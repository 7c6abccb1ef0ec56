"""Caption one shard of a catalogue: `python -m serving.backfill.run --data … --captioner … --store … --out …`."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import traceback
from collections.abc import Sequence
from types import FrameType
from typing import Any, NoReturn

from models.printable import printable
from models.termination import EXIT_AWAY, EXIT_DONE, EXIT_FAILED, EXIT_INTERRUPTED, write_termination
from serving.backfill.arguments import Arguments, parse
from training.job_places import fleeting_places


class Interrupted(BaseException):
    """A signal came while there was no event loop to take it. No `except Exception` must stop it."""


def main(argv: Sequence[str] | None = None) -> int:
    """Do a shard; return the exit code (`models.termination`), and leave the termination message."""
    arguments = parse(argv, os.environ)
    document: dict[str, Any] = {"job": "backfill", "shard": f"{arguments.shard} of {arguments.shards}"}
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _interrupt)
    if fleeting := list(fleeting_places({"--out": arguments.out}, os.environ)):
        document["warnings"] = fleeting
        _say(f"WARNING: {fleeting[0]}")
    try:
        outcome, message, code = _ended(arguments, document)
    except (Interrupted, asyncio.CancelledError):
        outcome, code = "interrupted", EXIT_INTERRUPTED
        message = "stopped by a signal; what was captioned is kept, the same command goes on"
    write_termination({**document, "outcome": outcome, "message": message}, os.environ)
    _say(f"shard {document['shard']} {outcome}: {message}")
    return code


def _ended(arguments: Arguments, document: dict[str, Any]) -> tuple[str, str, int]:
    """Outcome, message and exit code of a shard that nobody stopped; its counts are left in `document`."""
    from serving.backfill.compose import do_shard
    from serving.backfill.refusals import AWAY, REFUSALS
    from serving.backfill.shard import Tally

    tally = Tally()
    try:
        result = do_shard(arguments, tally, _say)
        return "done", f"{tally}: {result}", EXIT_DONE
    except REFUSALS as error:
        return "failed", str(error), EXIT_FAILED
    except AWAY as error:
        return "failed", str(error), EXIT_AWAY
    except Exception as error:  # noqa: BLE001 (whatever it is, the job's message says so)
        traceback.print_exc()
        return "failed", f"{type(error).__name__}: {error}; see the log", EXIT_FAILED
    finally:
        document.update(tally.counts())
        if tally.cuts is not None:
            document["captions_cut"] = tally.cuts.document()


def _interrupt(number: int, frame: FrameType | None) -> NoReturn:
    raise Interrupted


def _say(text: str) -> None:
    sys.stderr.write(f"backfill: {printable(text)}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main())
