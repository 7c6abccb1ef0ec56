"""Where a job writes: whether it can, and whether what it writes there outlives the pod."""

from __future__ import annotations

import errno
import re
import tempfile
from argparse import Namespace
from collections.abc import Iterator, Mapping
from pathlib import Path

from models.disk import NoRoomError
from models.files import write_atomic

MOUNTS = Path("/proc/self/mountinfo")
IN_A_POD = "KUBERNETES_SERVICE_HOST"
_GOES = re.compile(r"/kubernetes\.io~empty-dir/")
_MEMORY = frozenset({"overlay", "tmpfs", "ramfs"})
_ESCAPED = re.compile(r"\\([0-7]{3})")


def check_places(arguments: Namespace) -> None:
    """Write to the work folder, and find one for temporary files, before anything is read or trained.

    Raises:
        NoRoomError: one of them takes nothing.
    """
    if (work := getattr(arguments, "work", None)) is not None:
        probe = work / ".writable"
        write_atomic(probe, b"\n")
        probe.unlink(missing_ok=True)
    try:
        tempfile.gettempdir()
    except FileNotFoundError as error:
        raise NoRoomError(errno.ENOSPC, f"no folder for temporary files: {error.strerror}", "TMPDIR") from error


def written(arguments: Namespace) -> dict[str, str]:
    """The places that a training job's command line names for what it writes, by option."""
    options = {f"--{name.replace('_', '-')}": getattr(arguments, name, None) for name in ("work", "out", "out_store")}
    return {option: str(place) for option, place in options.items() if place is not None}


def fleeting_places(places: Mapping[str, str], environment: Mapping[str, str], mounts: Path = MOUNTS) -> Iterator[str]:
    """A sentence for each place (path or URI, by its option) that goes with this pod. Nothing outside of a pod."""
    if IN_A_POD not in environment:
        return
    for option, place in places.items():
        if "://" not in place and goes_with_pod(Path(place), mounts):
            yield (
                f"{option} {place} goes with this pod, and what the Job writes there with it: give the folder of a "
                "PersistentVolumeClaim" + ("" if option == "--work" else ", or s3://…")
            )


def goes_with_pod(path: Path, mounts: Path = MOUNTS) -> bool:
    """Whether a path lies in an emptyDir, in memory or in the container's own layer."""
    best, fleeting = -1, False
    resolved = path.absolute()
    for line in mounts.read_text().splitlines():
        before, _, after = line.partition(" - ")
        root, point = (_ESCAPED.sub(lambda found: chr(int(found[1], 8)), text) for text in before.split()[3:5])
        if resolved.is_relative_to(point) and len(point) >= best:  # the last one mounted at a point is the one seen
            best, fleeting = len(point), bool(_GOES.search(f"{root}/")) or after.split()[0] in _MEMORY
    return fleeting
