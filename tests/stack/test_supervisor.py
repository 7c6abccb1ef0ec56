"""The supervisor with small real processes: whatever happens to it or to them, nothing stays behind."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import psutil
import pytest
from stack_fixtures import eventually

from serving.stack.errors import NotReadyError, StackError
from serving.stack.orphans import end_marked, marked
from serving.stack.service import Service
from serving.stack.supervisor import Supervisor

FAMILY = """
import pathlib, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
pathlib.Path(sys.argv[1]).write_text(str(child.pid))
time.sleep(600)
"""


def family(folder: Path, name: str = "family", script: str = FAMILY) -> Service:
    """A server that starts a child in a session of its own, and is ready when it has said so."""
    said = folder / f"{name}.pid"
    return Service(
        name=name,
        argv=(sys.executable, "-c", script, str(said)),
        log=folder / f"{name}.log",
        why_not_ready=lambda: None if said.exists() and said.read_text() else "no pid yet",
        start_seconds=20,
        stop_seconds=3,
    )


def test_leaving_the_supervisor_ends_servers_and_their_children(tmp_path: Path) -> None:
    with Supervisor() as supervisor:
        supervisor.start(family(tmp_path))
        pids = [*supervisor.pids().values(), int((tmp_path / "family.pid").read_text())]
        assert all(psutil.pid_exists(pid) for pid in pids)
    assert marked(supervisor.token) == []
    assert eventually(lambda: not any(psutil.pid_exists(pid) for pid in pids))


def test_a_killed_server_is_named_with_its_log_and_its_children_are_ended(tmp_path: Path) -> None:
    with Supervisor() as supervisor:
        supervisor.start(family(tmp_path))
        os.kill(supervisor.pids()["family"], signal.SIGKILL)
        with pytest.raises(StackError, match=r"family was ended by signal SIGKILL; its log: .*family\.log"):
            supervisor.watch(threading.Event())
    assert marked(supervisor.token) == []


def test_a_server_that_ends_at_its_start_is_reported_with_the_end_of_its_log(tmp_path: Path) -> None:
    service = Service(
        name="broken",
        argv=(sys.executable, "-c", "print('the disk is full'); raise SystemExit(3)"),
        log=tmp_path / "broken.log",
        why_not_ready=lambda: "never",
    )
    with (
        pytest.raises(NotReadyError, match=r"(?s)broken exited with code 3 .*the disk is full"),
        Supervisor() as supervisor,
    ):
        supervisor.start(service)


def test_a_server_that_is_not_ready_in_its_time_says_what_was_missing(tmp_path: Path) -> None:
    service = Service(
        name="slow",
        argv=("sleep", "600"),
        log=tmp_path / "slow.log",
        why_not_ready=lambda: "the model is loading",
        start_seconds=0.3,
    )
    with (
        pytest.raises(NotReadyError, match="not ready after 0 s: the model is loading"),
        Supervisor() as supervisor,
    ):
        supervisor.start(service)
    assert marked(supervisor.token) == []


def test_a_server_that_ignores_sigterm_is_killed(tmp_path: Path) -> None:
    deaf = FAMILY.replace("child =", "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); child =")
    with Supervisor() as supervisor:
        supervisor.start(family(tmp_path, "deaf", deaf))
    assert marked(supervisor.token) == []


def test_servers_end_with_a_supervisor_that_was_killed(tmp_path: Path) -> None:
    """SIGKILL runs no handler: the kernel's parent-death signal ends the server, the mark finds its child."""
    program = f"""
import sys, threading
from pathlib import Path
sys.path.insert(0, {str(Path(__file__).parent)!r})
from test_supervisor import family
from serving.stack.supervisor import Supervisor
with Supervisor(token="test-killed-{os.getpid()}") as supervisor:
    supervisor.start(family(Path({str(tmp_path)!r})))
    print(supervisor.pids()["family"], flush=True)
    supervisor.watch(threading.Event())
"""
    parent = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    server = int(parent.stdout.readline())
    parent.kill()
    parent.wait()
    parent.stdout.close()
    assert eventually(lambda: not psutil.pid_exists(server))
    end_marked(f"test-killed-{os.getpid()}")
    assert marked(f"test-killed-{os.getpid()}") == []
