"""Processes that cannot outlive their parent, by the kernel's parent-death signal.

As a program: `python -m models.leash PARENT_PID PROGRAM [ARG ...]`. The signal covers the one case that no handler can:
the parent killed by SIGKILL. It is set in a process of its own that then becomes the program, because code between fork
and exec is unsafe in a parent that has threads.
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def leashed(*program: str) -> list[str]:
    """The command line that runs a program on a leash to this process."""
    return [sys.executable, "-m", "models.leash", str(os.getpid()), *program]


def end_with_parent(number: signal.Signals, parent: int | None = None) -> None:
    """Have the kernel send this signal to this process when its parent dies; `parent`, if given, must still be there.

    Raises:
        OSError: the kernel refused.
        SystemExit: the parent died before the signal was armed.
    """
    _set(number)
    if parent is not None and os.getppid() != parent:
        sys.exit(1)


def outlive_parent() -> None:
    """Take `end_with_parent` back."""
    _set(0)


def _set(number: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, number, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) failed")


def main(argv: list[str]) -> None:
    """Ask for SIGTERM when the parent dies, then become the program.

    Raises:
        OSError: the kernel refused, or the program cannot be executed.
    """
    end_with_parent(signal.SIGTERM, int(argv[0]))
    os.execvp(argv[1], argv[1:])


if __name__ == "__main__":
    main(sys.argv[1:])
