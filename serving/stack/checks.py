"""Checks of this machine, each with its finding and its remedy."""

import importlib.metadata
import shutil
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import psutil

from serving.ranker.command import TritonCommand, TritonServerError
from serving.stack.errors import StackError
from serving.stack.layout import Layout
from serving.stack.ports import Ports, is_free

_GIB = 2**30
_PROGRAMS = {
    "redis-server": "item store for a cluster (tests): apt-get install redis-server",
    "prometheus": "guardrails (tests): apt-get install prometheus",
    "chromium": "page tests: apt-get install chromium",
    "buildah": "container images: apt-get install buildah",
    "helm": "chart: install Helm 3.14 or newer",
    "kubectl": "cluster: install kubectl",
}
_PACKAGES = ("torch", "transformers", "ray", "kserve", "tritonclient", "onnx", "onnxruntime", "nvidia-pytriton")


@dataclass(frozen=True)
class Check:
    """One finding; `optional` things are needed by some commands only."""

    name: str
    state: Literal["ok", "optional", "missing"]
    found: str
    advice: str = ""

    def as_dict(self) -> dict[str, str]:
        """The finding as JSON-able data."""
        return asdict(self)


def all_checks(layout: Layout) -> list[Check]:
    """Everything that the demo needs, then what optional parts need."""
    return [
        python(),
        packages(),
        triton_program(),
        captioner_weights(),
        enough("memory", psutil.virtual_memory().total / _GIB, 6, "the demo holds Ray, Triton and training at once"),
        enough("disk", shutil.disk_usage(_existing(layout.root)).free / _GIB, 2, "free some space"),
        enough("/dev/shm", shutil.disk_usage("/dev/shm").free / _GIB, 0.25, "mount a larger /dev/shm"),
        ports(Ports()),
        *(program(name, use) for name, use in _PROGRAMS.items()),
    ]


def python() -> Check:
    """The interpreter's version: Triton's Python backend and the lock are for 3.11."""
    version = ".".join(map(str, sys.version_info[:3]))
    good = sys.version_info[:2] == (3, 11)
    return Check("Python", "ok" if good else "missing", version, "" if good else "install Python 3.11")


def packages() -> Check:
    """The libraries of the lock."""
    missing = [name for name in _PACKAGES if not _installed(name)]
    if missing:
        return Check("packages", "missing", f"without {', '.join(missing)}", "make setup")
    return Check("packages", "ok", ", ".join(f"{name} {importlib.metadata.version(name)}" for name in _PACKAGES))


def triton_program() -> Check:
    """Triton's program, its Python backend for this Python, and the shared libpython that it loads."""
    with tempfile.TemporaryDirectory() as folder:
        command = TritonCommand(Path(folder), 8100, 8101, 8102, workdir=Path(folder) / "work")
        return _refusable("Triton", lambda: _prepared(command), TritonServerError)


def captioner_weights() -> Check:
    """The tiny captioner's files, each against its sha256."""
    from models.captioner.errors import CaptionerError
    from models.captioner.presets import TINY
    from models.captioner.source import verify, weights_digest

    def intact() -> str:
        verify(TINY, required=True)
        return f"tiny@{weights_digest(TINY)}, every file as its sha256 says"

    return _refusable("captioner", intact, CaptionerError)


def _prepared(command: TritonCommand) -> str:
    command.prepare()
    return command.argv[0]


def enough(name: str, gibibytes: float, needed: float, advice: str) -> Check:
    """A quantity beside what the demo needs."""
    good = gibibytes >= needed
    found = f"{gibibytes:.1f} GiB (needs {needed:g})"
    return Check(name, "ok" if good else "missing", found, "" if good else advice)


def ports(wanted: Ports) -> Check:
    """Whether the default ports are free (a running stack holds them)."""
    busy = [f"{name} {port}" for name, port in wanted.as_dict().items() if not is_free(port)]
    if busy:
        return Check("ports", "optional", f"in use: {', '.join(busy)}", "make down, or --port NAME=NUMBER")
    return Check("ports", "ok", ", ".join(str(port) for port in wanted.as_dict().values()) + " are free")


def program(name: str, use: str) -> Check:
    """An optional program on PATH."""
    path = shutil.which(name)
    return Check(name, "ok", path) if path else Check(name, "optional", "not installed", use)


def _refusable(name: str, check: Callable[[], str], refusal: type[Exception]) -> Check:
    try:
        return Check(name, "ok", check())
    except refusal as error:
        return Check(name, "missing", "not usable", str(error))


def _installed(name: str) -> bool:
    try:
        importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def _existing(path: Path) -> Path:
    for folder in (path, *path.parents):
        if folder.exists():
            return folder
    raise StackError(f"{path}: no folder above it exists")
