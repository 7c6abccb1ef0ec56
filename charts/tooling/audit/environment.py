"""The auditing programs, in an environment of their own: what they need must not meet what the project needs."""

import hashlib
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

LOCK = Path(__file__).with_name("requirements.lock")
CACHE = Path(sys.prefix) / "share" / "sightline-audit"


class ToolError(RuntimeError):
    """A program could not be installed or did not do its work; the message says what it said."""


def installed(lock: Path = LOCK, cache: Path = CACHE) -> Path:
    """Folder of the programs. The first call installs them by the lock's digests, which takes some minutes.

    Raises:
        ToolError: pip could not install them; nothing is left behind.
    """
    folder = cache / hashlib.sha256(lock.read_bytes()).hexdigest()[:12]
    ready = folder / "ready"
    if not ready.exists():
        sys.stdout.write("installing checkov and pip-audit (300 MB, some minutes, once)\n")
        sys.stdout.flush()
        shutil.rmtree(cache, ignore_errors=True)
        try:
            _run([sys.executable, "-m", "venv", str(folder)])
            hashed = ["--quiet", "--no-deps", "--require-hashes", "--requirement", str(lock)]
            _run([str(folder / "bin" / "python"), "-m", "pip", "install", "--disable-pip-version-check", *hashed])
        except ToolError:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        ready.touch()
    return folder / "bin"


def ask(program: Path, *words: str) -> str:
    """What a program prints; auditors end with 1 when they have found something.

    Raises:
        ToolError: it ended with another code.
    """
    with tempfile.TemporaryDirectory(prefix="sightline-audit-") as empty:  # no configuration file is found there
        done = subprocess.run([program, *words], capture_output=True, text=True, check=False, cwd=empty)
    if done.returncode not in (0, 1):
        raise ToolError(f"{program.name} ended with {done.returncode}: {done.stderr.strip()[-500:]}")
    return done.stdout


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise ToolError(f"{' '.join(command)} ended with {done.returncode}: {done.stderr.strip()[-500:]}")
