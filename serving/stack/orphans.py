"""Finds and ends the processes that a stack started, by the mark that they inherit."""

from contextlib import suppress

import psutil

from serving.captioner.warden import CLEANER

MARK = "SIGHTLINE_STACK"
_ROUNDS = 3


def marked(token: str) -> list[psutil.Process]:
    """The living processes of this user that were started, directly or not, under `token`."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):  # ended meanwhile, or another user's
            if process.status() != psutil.STATUS_ZOMBIE and process.environ().get(MARK) == token:
                found.append(process)
    return found


def end_marked(token: str, patience: float = 5.0) -> list[int]:
    """End what is left of a stack: SIGTERM first, SIGKILL after `patience` seconds; those that clean up come last.

    Returns:
        The process ids that had to be ended.
    """
    found: list[int] = []
    for _ in range(_ROUNDS):  # again, for those that were being started meanwhile
        left = marked(token)
        if not left:
            break
        found += [process.pid for process in left]
        _end(left, patience)
    return found


def _end(left: list[psutil.Process], patience: float) -> None:
    for process in left:
        with suppress(psutil.NoSuchProcess):
            process.terminate()
    _, stubborn = psutil.wait_procs(left, timeout=patience)
    cleaners = [process for process in stubborn if _cleans_up(process)]
    _kill([process for process in stubborn if process not in cleaners], patience)
    _, late = psutil.wait_procs(cleaners, timeout=2 * patience)
    _kill(late, patience)


def _kill(processes: list[psutil.Process], patience: float) -> None:
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(processes, timeout=patience)


def _cleans_up(process: psutil.Process) -> bool:
    with suppress(psutil.Error):
        return CLEANER in process.environ()
    return False
