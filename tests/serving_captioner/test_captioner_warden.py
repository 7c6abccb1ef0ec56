from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from serving.captioner.warden import MARK, of_run, started, warden

# A server whose children outlive it: one carries the mark, one has lost it and holds a file of the run open.
SERVER = f"""
import os, subprocess, sys
from pathlib import Path
from serving.captioner.warden import warden
folder = Path(sys.argv[1])
with warden(folder, remove=True) as mark:
    sleep = [sys.executable, "-c", "import time; time.sleep(60)"]
    clean = {{k: v for k, v in os.environ.items() if k != "{MARK}"}}
    one = subprocess.Popen(sleep, env=clean | {{"{MARK}": mark}}, start_new_session=True)
    two = subprocess.Popen(sleep, env=clean, stdout=open(folder / "log", "w"), start_new_session=True)
    bystander = subprocess.Popen(sleep, env=clean, stdout=subprocess.DEVNULL, start_new_session=True)
    print(one.pid, two.pid, bystander.pid, flush=True)
    {{ending}}
"""


def alive(number: int) -> bool:
    try:
        return Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.parametrize("ending", ["import time; time.sleep(60)", "pass"], ids=["killed", "at its end"])
def test_children_end_and_the_folder_goes_but_bystanders_stay(tmp_path: Path, ending: str) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    server = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", SERVER.replace("{ending}", ending), str(folder)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    assert server.stdout is not None
    one, two, bystander = map(int, server.stdout.readline().split())
    if ending != "pass":
        server.kill()
    server.wait(30)
    server.stdout.close()
    deadline = time.monotonic() + 20
    while (alive(one) or alive(two) or folder.exists()) and time.monotonic() < deadline:
        time.sleep(0.05)
    stayed = alive(bystander)
    os.kill(bystander, 9)
    assert stayed
    assert (alive(one), alive(two), folder.exists()) == (False, False, False)


@pytest.mark.parametrize("look", ["open('log')", "os.open('.', os.O_RDONLY)", "os.chdir('.')"])
def test_somebody_who_reads_in_the_folder_is_no_part_of_the_run(tmp_path: Path, look: str) -> None:
    (tmp_path / "log").touch()
    program = f"import os, time; held = {look}; print('open', flush=True); time.sleep(60)"
    with warden(tmp_path, remove=True) as mark:
        reader = subprocess.Popen([sys.executable, "-c", program], cwd=tmp_path, stdout=subprocess.PIPE)
        assert reader.stdout is not None
        reader.stdout.readline()
        assert of_run(mark, tmp_path) == []
    assert reader.poll() is None
    assert not tmp_path.exists()
    reader.kill()
    reader.communicate()


def test_a_writer_older_than_the_run_is_no_part_of_it(tmp_path: Path) -> None:
    with (tmp_path / "log").open("w"):
        assert of_run("no mark", tmp_path, since=started(os.getpid())) == [os.getpid()]
        assert of_run("no mark", tmp_path, since=started(os.getpid()) + 1) == []
        with warden(tmp_path, remove=False):
            pass  # it ends what belongs to the run; this process, older than it, is still here afterwards


def test_a_folder_that_is_kept_stays(tmp_path: Path) -> None:
    with warden(tmp_path, remove=False) as mark:
        assert of_run(mark, tmp_path) == []
    assert tmp_path.exists()
