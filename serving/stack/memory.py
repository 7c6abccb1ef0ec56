"""How much memory each server uses, with all the processes that it started."""

from collections.abc import Mapping
from contextlib import suppress

import psutil

MIB = 2**20


def proportional_mib(pids: Mapping[str, int]) -> dict[str, float]:
    """Server name to MiB: the proportional set size (shared pages divided among their users) of its process tree."""
    return {name: sum(_pss(process) for process in _tree(pid)) / MIB for name, pid in pids.items()}


def _tree(pid: int) -> list[psutil.Process]:
    try:
        root = psutil.Process(pid)
        return [root, *root.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def _pss(process: psutil.Process) -> float:
    with suppress(psutil.NoSuchProcess):
        return float(process.memory_full_info().pss)
    return 0.0
