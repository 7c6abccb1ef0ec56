"""Start a program that cannot outlive its parent: `python -m serving.stack.leash PARENT_PID PROGRAM [ARG ...]`.

The kernel's parent-death signal covers the one case that no handler can: the supervisor killed by SIGKILL. It is set
here, in a process of its own that then becomes the program, because code between fork and exec is unsafe in a parent
that has threads.
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def main(argv: list[str]) -> None:
    """Ask for SIGTERM when the parent dies, then become the program.

    Raises:
        OSError: the kernel refused, or the program cannot be executed.
    """
    parent, program = int(argv[0]), argv[1:]
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) failed")
    if os.getppid() != parent:  # the parent died before the signal was armed
        sys.exit(1)
    os.execvp(program[0], program)


if __name__ == "__main__":
    main(sys.argv[1:])
