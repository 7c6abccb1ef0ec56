"""`python -m training.job train|lift|publish`: a job that can be stopped, killed and started again.

0   done
1   failed, and would fail again: bad input, or an error of the program (its traceback is in the log)
75  interrupted with its state saved: the same command goes on. podFailurePolicy takes it as a disruption
2   wrong usage
"""

from __future__ import annotations

import os
import sys
import traceback
from argparse import Namespace
from collections.abc import Callable, Mapping, Sequence

from training import job_message
from training.job_arguments import parse
from training.job_message import Message
from training.job_signals import Stop

DONE, FAILED, INTERRUPTED = 0, 1, 75


def main(argv: Sequence[str] | None = None) -> int:
    """Run one job; returns its exit code, and leaves its termination message."""
    arguments = parse(argv)
    stop = Stop.on_signals()
    message, code = _run(arguments, stop)
    if _speaks(arguments):
        job_message.write(message, job_message.place())
        print(f"{arguments.job} {message.outcome}: {message.message}", flush=True)  # noqa: T201
    return code


def _run(arguments: Namespace, stop: Callable[[], bool]) -> tuple[Message, int]:
    """The job's message and exit code; every end of a job but a kill passes here."""
    from training.distributed import RankLostError
    from training.job_refusals import REFUSALS
    from training.loop import TrainingStoppedError

    try:
        return _work(arguments, stop), DONE
    except (TrainingStoppedError, RankLostError) as error:
        return Message(arguments.job, "interrupted", str(error)), INTERRUPTED
    except REFUSALS as error:
        return Message(arguments.job, "failed", str(error)), FAILED
    except Exception as error:  # noqa: BLE001 (whatever it is, the job's message says so)
        traceback.print_exc()
        return Message(arguments.job, "failed", f"{type(error).__name__}: {error}; see the log"), FAILED


def _work(arguments: Namespace, stop: Callable[[], bool]) -> Message:
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
