"""`python -m training.job train|lift|publish`: a job that can be stopped, killed and started again.

The exit codes are those of `models.termination`: 0 done; 1 failed, and would fail again (bad input, or an error of the
program: its traceback is in the log); 2 wrong usage; 69 a store did not answer or a disk takes no more, what is done is
kept for another attempt; 75 interrupted with its state saved, the same command goes on.
"""

from __future__ import annotations

import os
import sys
import traceback
from argparse import Namespace
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from models.printable import printable
from models.termination import EXIT_AWAY, EXIT_DONE, EXIT_FAILED, EXIT_INTERRUPTED, write_termination
from training.job_arguments import parse
from training.job_message import Message
from training.job_places import check_places, fleeting_places, written
from training.job_signals import Stop


def main(argv: Sequence[str] | None = None) -> int:
    """Run one job; returns its exit code, and leaves its termination message."""
    arguments = parse(argv)
    stop = Stop.on_signals()
    fleeting = list(fleeting_places(written(arguments), os.environ)) if _speaks(arguments) else []
    for warning in fleeting:
        print(f"WARNING: {printable(warning)}", flush=True)  # noqa: T201
    message, code = _run(arguments, stop)
    if _speaks(arguments):
        message = replace(message, warnings=[*message.warnings, *fleeting])
        write_termination(message.document(), os.environ)
        for warning in message.warnings:
            print(f"WARNING: {printable(warning)}", flush=True)  # noqa: T201
        print(f"{arguments.job} {message.outcome}: {printable(message.message, lines=True)}", flush=True)  # noqa: T201
    return code


def _run(arguments: Namespace, stop: Callable[[], bool]) -> tuple[Message, int]:
    """The job's message and exit code; every end of a job but a kill passes here."""
    from training.distributed import RankLostError
    from training.job_refusals import REFUSALS, is_away
    from training.loop import TrainingStoppedError

    try:
        return _work(arguments, stop), EXIT_DONE
    except (TrainingStoppedError, RankLostError) as error:
        return Message(arguments.job, "interrupted", str(error)), EXIT_INTERRUPTED
    except REFUSALS as error:
        return Message(arguments.job, "failed", str(error)), EXIT_AWAY if is_away(error) else EXIT_FAILED
    except Exception as error:  # noqa: BLE001 (whatever it is, the job's message says so)
        traceback.print_exc()
        message = Message(arguments.job, "failed", f"{type(error).__name__}: {error}; see the log")
        return message, EXIT_AWAY if is_away(error) else EXIT_FAILED


def _work(arguments: Namespace, stop: Callable[[], bool]) -> Message:
    check_places(arguments)
    if arguments.job == "publish":
        from training.job_publish import publish

        return publish(arguments)
    from training.job_ranks import alone, together

    return (together if arguments.distributed else alone)(arguments, stop)


def _speaks(arguments: Namespace, environment: Mapping[str, str] = os.environ) -> bool:
    """Of several processes in a container one leaves the message, and the first of all is among those."""
    return not getattr(arguments, "distributed", False) or environment.get("LOCAL_RANK", "0") == "0"


if __name__ == "__main__":
    sys.exit(main())
