"""torchrun with its processes' exit code: `python -m training.job_torchrun … -m training.job train --distributed …`.

torchrun itself ends with 1 whatever its processes ended with, also when it was told to end; a Job's podFailurePolicy
would take every disruption for a failure.
"""

from __future__ import annotations

import os
import sys
import traceback
from argparse import Namespace
from collections.abc import Collection, Sequence
from typing import NoReturn

from torch.distributed import DistError, run
from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.elastic.rendezvous.api import RendezvousError

from models.termination import EXIT_DONE, EXIT_FAILED, EXIT_INTERRUPTED


def main(argv: Sequence[str] | None = None) -> int:
    """Run torchrun with these arguments; returns the exit code."""
    try:
        run.main(list(argv) if argv is not None else None)
    except SignalException:
        return EXIT_INTERRUPTED  # it has passed the signal on and waited for the processes
    except ChildFailedError as error:
        return exit_code([failure.exitcode for failure in error.failures.values()])
    except (DistError, RendezvousError):
        traceback.print_exc()  # the launcher of another machine is gone, or did not come in time
        arguments: Namespace = run.parse_args(argv)  # type: ignore[no-untyped-call]
        if arguments.node_rank != 0 or not arguments.module:
            return EXIT_INTERRUPTED
        _go_on_alone(arguments)
    return EXIT_DONE


def _go_on_alone(arguments: Namespace) -> NoReturn:
    """Put the first process in this one's place: when all is trained, the others may be done for good.

    When there is more to train, it ends as interrupted itself.
    """
    processes = int(arguments.nnodes) * int(arguments.nproc_per_node)
    place = {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": str(processes), "LOCAL_WORLD_SIZE": arguments.nproc_per_node}
    meeting = {"MASTER_ADDR": arguments.master_addr, "MASTER_PORT": str(arguments.master_port)}
    command = [sys.executable, "-m", arguments.training_script, *arguments.training_script_args]
    sys.stdout.flush()
    os.execve(sys.executable, command, {**os.environ, **place, **meeting})


def exit_code(ended: Collection[int]) -> int:
    """One code for several processes, of which some failed; negative ones are signals, as subprocess has them.

    Interrupted only if all who failed were: a process that lost another one is interrupted, the lost one is to blame.
    """
    to_blame = [code for code in ended if code != EXIT_INTERRUPTED]
    if not to_blame:
        return EXIT_INTERRUPTED
    if EXIT_FAILED in to_blame:
        return EXIT_FAILED
    return to_blame[0] if to_blame[0] > 0 else 128 - to_blame[0]


if __name__ == "__main__":
    sys.exit(main())
