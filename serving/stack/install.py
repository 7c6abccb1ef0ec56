"""`make setup`: build or mend the virtual environment, with signs of life. It needs nothing but Python's own library.

`python3.11 -m serving.stack.install .venv`. Ended at any moment, the next run goes on from what is installed.
"""

import fcntl
import os
import queue
import re
import shutil
import signal
import subprocess
import sys
import threading
import tomllib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from models.leash import leashed
from serving.stack.lines import Report, plain

LOCK = Path("requirements.lock")
PROJECT = Path("pyproject.toml")
_POLL_SECONDS = 0.5
_LAST_LINES = 15
_LARGE = re.compile(r"Downloading \S*?([^/\s]+\.whl)\S* \(([\d.]+ GB|\d{3,}[\d.]* MB)\)")
_FOUND = re.compile(r"(?:Collecting|Requirement already satisfied:) (\S+)")
_INSTALLING = re.compile(r"Installing collected packages: (.*)")


class InstallError(Exception):
    """A step failed; the message has the end of what it said."""


class PipProgress:
    """Turns what pip prints into steps: packages found and downloaded, then packages installed.

    `installed` counts the packages in the environment; pip itself is silent while it installs.
    """

    def __init__(self, total: int, installed: Callable[[], int], report: Report, say: Callable[[str], None]) -> None:
        self._total, self._installed, self._report, self._say = total, installed, report, say
        self._found: set[str] = set()
        self._installing = self._before = 0
        report("finding and downloading packages", 0, total)

    def line(self, text: str) -> None:
        """Take a line of pip's output."""
        if large := _LARGE.search(text):
            self._say(f"downloading {large[1]} ({large[2]})")
        elif found := _FOUND.match(text.strip()):
            self._found.add(re.split(r"[\s=<>!~;\[]", found[1])[0].lower())
            self._report("finding and downloading packages", min(len(self._found), self._total - 1), self._total)
        elif begun := _INSTALLING.match(text):
            self._report("finding and downloading packages", self._total, self._total)
            self._installing, self._before = len(begun[1].split(", ")), self._installed()
            self.look()

    def look(self) -> None:
        """To be called now and then."""
        if self._installing:
            done = min(self._installed() - self._before, self._installing - 1)
            self._report("installing packages", max(0, done), self._installing)

    def finish(self) -> None:
        """pip has ended well."""
        if self._installing:
            self._report("installing packages", self._installing, self._installing)


def mend(site_packages: Path) -> list[str]:
    """Forget packages that were being installed when pip was ended, so that it installs them again; their names."""
    broken = [path for path in site_packages.glob("*.dist-info") if not (path / "RECORD").is_file()]
    for path in [*broken, *site_packages.glob("~*")]:  # pip's name for what it was replacing
        shutil.rmtree(path, ignore_errors=True)
    return sorted(path.name.partition("-")[0] for path in broken)


@contextmanager
def alone(folder: Path, say: Callable[[str], None]) -> Iterator[None]:
    """Let one set-up at a time work in the folder; a second one waits."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("another set-up is at work here; waiting for its end")
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def run(command: Sequence[str], line: Callable[[str], None], look: Callable[[], None] = lambda: None) -> None:
    """Run a program that ends with this one, its output line by line; `look` is called twice a second.

    Raises:
        InstallError: it failed.
    """
    lines: queue.SimpleQueue[str] = queue.SimpleQueue()
    last: list[str] = []
    with subprocess.Popen(
        leashed(*command),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as process:

        def read() -> None:
            for each in process.stdout or ():
                lines.put(each)

        reader = threading.Thread(target=read, daemon=True)
        reader.start()
        try:
            while reader.is_alive() or not lines.empty():
                try:
                    text = lines.get(timeout=_POLL_SECONDS).rstrip()
                except queue.Empty:
                    look()
                    continue
                last = [*last, text][-_LAST_LINES:]
                line(text)
        except BaseException:
            os.killpg(process.pid, signal.SIGTERM)  # with what it has started
            reader.join()  # until the last of them has closed the pipe
            raise
    if process.returncode != 0:
        said = "\n".join(f"  | {text}" for text in last)
        raise InstallError(f"{' '.join(command)} failed with exit code {process.returncode}:\n{said}")


def install(venv: Path, report: Report, say: Callable[[str], None]) -> None:
    """All of the set-up. Raises InstallError."""
    python, quiet = venv / "bin" / "python", ("--disable-pip-version-check", "--progress-bar", "off", "--no-input")
    report("creating the environment", 0, 1)
    if not _has_pip(python):
        shutil.rmtree(venv, ignore_errors=True)
        run([sys.executable, "-m", "venv", str(venv)], lambda text: None)
    report("creating the environment", 1, 1)
    packages = venv / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"
    if again := mend(packages):
        say(f"an earlier set-up was cut off at: {', '.join(again)}; they are installed again")
    pip, hashed = (str(python), "-m", "pip"), ("--no-deps", "--require-hashes", "--requirement", str(LOCK))
    total = sum("==" in each for each in LOCK.read_text().splitlines())
    progress = PipProgress(total, lambda: len(list(packages.glob("*.dist-info/RECORD"))), report, say)
    run([*pip, "install", *quiet, *hashed], progress.line, progress.look)
    progress.finish()
    report("installing torch", 0, 1)
    run([*pip, "install", *quiet, torch()], lambda text: None)
    run([*pip, "check"], lambda text: None)
    report("installing torch", 1, 1)
    report("installing this project", 0, 1)
    ours = ("--no-deps", "--no-build-isolation", "--editable", ".")
    run([*pip, "install", *quiet, *ours], lambda text: None)
    run([str(python), "-m", "charts.tooling.programs"], lambda text: None)
    report("installing this project", 1, 1)


def torch() -> str:
    """The requirement of torch. Its builds differ between indexes, so the lock has what it needs and not itself."""
    extras = tomllib.loads(PROJECT.read_text())["project"]["optional-dependencies"]
    return next(str(line) for lines in extras.values() for line in lines if line.startswith("torch=="))


def _has_pip(python: Path) -> bool:
    """Whether there is an environment of this Python, whole enough to go on with."""
    wanted = f"import sys, pip; sys.exit(sys.version_info[:2] != {sys.version_info[:2]})"
    return python.exists() and subprocess.run([python, "-c", wanted], capture_output=True, check=False).returncode == 0


def _leave(number: int, frame: FrameType | None) -> None:
    signal.signal(number, signal.SIG_IGN)
    raise SystemExit(128 + number)


def main(argv: list[str]) -> int:
    """Set up the environment named on the command line."""
    venv = Path(argv[0])
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _leave)

    def say(text: str) -> None:
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()

    say(
        f"Setting up {venv}: about 2 GB, three minutes where the packages are near; it can be stopped and goes on later"
    )
    try:
        with alone(venv.absolute().parent, say), plain(say) as report:
            install(venv, report, say)
    except InstallError as error:
        say(f"error: {error}\nOnce that is mended, go on from what is installed: make setup")
        return 1
    except SystemExit:
        say("stopped; what is installed is kept, to go on: make setup")
        raise
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
