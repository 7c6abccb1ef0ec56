"""Finds and ends the processes that a stack started, by the mark that they inherit."""

from contextlib import suppress

import psutil

MARK = "SIGHTLINE_STACK"


def marked(token: str) -> list[psutil.Process]:
    """The living processes of this user that were started, directly or not, under `token`."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):  # ended meanwhile, or another user's
            if process.status() != psutil.STATUS_ZOMBIE and process.environ().get(MARK) == token:
                found.append(process)
    return found


def end_marked(token: str, patience: float = 5.0) -> list[int]:
    """End what is left of a stack: SIGTERM first, SIGKILL after `patience` seconds.

    Returns:
        The process ids that had to be ended.
    """
    left = marked(token)
    for process in left:
        with suppress(psutil.NoSuchProcess):
            process.terminate()
    _, stubborn = psutil.wait_procs(left, timeout=patience)
    for process in stubborn:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(stubborn, timeout=patience)
    return [process.pid for process in left]
