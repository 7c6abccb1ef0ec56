"""`make setup`: signs of life from what pip prints, and whatever ends it, the next one goes on."""

import os
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import psutil
import pytest
from stack_fixtures import eventually

from serving.stack.install import InstallError, PipProgress, alone, mend, run

ROOT = Path(__file__).parents[2]
PIP = """\
Looking in links: /wheels
Collecting numpy==1.26.4 (from -r requirements.lock (line 3))
  Downloading numpy-1.26.4-cp311-cp311-manylinux_2_17_x86_64.whl (18.2 MB)
Requirement already satisfied: torch==2.13.0 in ./lib
Collecting nvidia-pytriton==0.7.0
  Downloading https://index/nvidia_pytriton-0.7.0-py3-none-manylinux.whl (123.4 MB)
Installing collected packages: numpy, nvidia-pytriton
"""


def test_what_pip_prints_becomes_steps_with_counts() -> None:
    reports: list[tuple[str, int, int]] = []
    said: list[str] = []
    installed = 10
    progress = PipProgress(3, lambda: installed, lambda *report: reports.append(report), said.append)
    for line in PIP.splitlines():
        progress.line(line)
    installed = 11
    progress.look()
    progress.finish()
    finding, installing = "finding and downloading packages", "installing packages"
    found = [(finding, 0, 3), (finding, 1, 3), (finding, 2, 3), (finding, 2, 3), (finding, 3, 3)]
    assert reports == [*found, (installing, 0, 2), (installing, 1, 2), (installing, 2, 2)]
    assert said == ["downloading nvidia_pytriton-0.7.0-py3-none-manylinux.whl (123.4 MB)"]


def test_a_package_that_was_being_installed_is_forgotten_and_a_whole_one_is_kept(tmp_path: Path) -> None:
    for name, files in (("whole-1.0", ("METADATA", "RECORD")), ("half_done-2.0", ("METADATA",))):
        (tmp_path / f"{name}.dist-info").mkdir()
        for file in files:
            (tmp_path / f"{name}.dist-info" / file).write_text("")
    (tmp_path / "~orch").mkdir()
    assert mend(tmp_path) == ["half_done"]
    assert [path.name for path in tmp_path.iterdir()] == ["whole-1.0.dist-info"]


def test_a_failure_shows_the_end_of_what_was_said() -> None:
    with pytest.raises(InstallError, match=r"(?s)exit code 3.*\| no such index"):
        run([sys.executable, "-c", "print('no such index'); raise SystemExit(3)"], lambda text: None)


def test_a_second_set_up_waits_for_the_first(tmp_path: Path) -> None:
    order, said = [], []

    def second() -> None:
        with alone(tmp_path, said.append):
            order.append("second")

    with alone(tmp_path, said.append):
        thread = threading.Thread(target=second)
        thread.start()
        assert eventually(lambda: len(said) == 1)
        order.append("first")
    thread.join()
    assert order == ["first", "second"]
    assert said == ["another set-up is at work here; waiting for its end"]


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_an_interrupted_set_up_leaves_no_process_and_is_not_ready(tmp_path: Path, sent: signal.Signals) -> None:
    """The rule of the Makefile, with an index that takes the call and never answers."""
    for name in ("Makefile", "pyproject.toml"):
        (tmp_path / name).write_bytes((ROOT / name).read_bytes())
    for name in ("models", "serving"):
        (tmp_path / name).symlink_to(ROOT / name)
    (tmp_path / "requirements.lock").write_text("slow==1\n")
    mark = f"SIGHTLINE_TEST_SETUP={tmp_path}"
    index = socket.create_server(("127.0.0.1", 0))
    settings = {
        "SIGHTLINE_TEST_SETUP": str(tmp_path),
        "PIP_INDEX_URL": f"http://127.0.0.1:{index.getsockname()[1]}/simple",
        "PIP_CONFIG_FILE": os.devnull,
    }
    make = subprocess.Popen(
        ["make", "setup", f"PYTHON={sys.executable}"],
        cwd=tmp_path,
        env={**os.environ, **settings},
        stdout=subprocess.PIPE,
        text=True,
    )

    def ours() -> list[psutil.Process]:
        found = []
        for process in psutil.process_iter():
            try:
                if f"SIGHTLINE_TEST_SETUP={process.environ().get('SIGHTLINE_TEST_SETUP')}" == mark:
                    found.append(process)
            except psutil.Error:
                continue
        return [process for process in found if process.status() != psutil.STATUS_ZOMBIE]

    setting_up = lambda: [each for each in ours() if "serving.stack.install" in each.cmdline()]  # noqa: E731
    index.settimeout(100)
    call, _ = index.accept()  # pip is downloading now
    setting_up()[0].send_signal(sent)
    said, _ = make.communicate(timeout=60)
    call.close()
    index.close()
    assert make.returncode != 0
    assert eventually(lambda: ours() == [], 30), ours()
    assert not (tmp_path / ".venv" / ".ready").exists()
    assert "finding and downloading packages" in said
    if sent is not signal.SIGKILL:
        assert "stopped; what is installed is kept, to go on: make setup" in said
