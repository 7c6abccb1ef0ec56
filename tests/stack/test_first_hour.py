"""Whatever happens in the first hour ends well: commands are ended at every stage, and the next one goes on."""

import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest
from stack_fixtures import eventually

from models.bundle import read_bundle
from serving.stack import control
from serving.stack.layout import Layout
from serving.stack.lock import is_held
from serving.stack.ports import Ports, free_ports, is_free
from serving.stack.services import ABLATION, RANKER, bundle_path
from serving.stack.state import StackState, read_state

pytestmark = pytest.mark.timeout(3600)
RUN = "SIGHTLINE_TEST_RUN"
PATIENCE = 900.0  # a busy machine; nothing here waits for it otherwise


@dataclass
class Hour:
    """A state folder, and every process that comes of the commands given in it."""

    layout: Layout
    ports: Ports = field(default_factory=free_ports)
    mark: str = field(default_factory=lambda: uuid.uuid4().hex)

    def start(self, *words: str, halt: str = "") -> subprocess.Popen[str]:
        program = [sys.executable, str(Path(__file__).parent / "reduced.py"), "cli", "--root", str(self.layout.root)]
        ports = [word for setting in self.ports.settings() for word in ("--port", setting)]
        return subprocess.Popen(
            [*program, *words, *(ports if words[0] in ("up", "demo") else ())],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, RUN: self.mark, "SIGHTLINE_TEST_HALT": halt, "SIGHTLINE_GIT_REVISION": "tested"},
        )

    def run(self, *words: str) -> tuple[int, str]:
        process = self.start(*words)
        said, _ = process.communicate(timeout=PATIENCE)
        return process.returncode, said

    def living(self) -> list[psutil.Process]:
        found = []
        for process in psutil.process_iter():
            try:
                if process.environ().get(RUN) == self.mark and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
            except psutil.Error:
                continue
        return found

    def at(self, stage: str) -> StackState:
        """Wait until a command stands still at a stage: where it counts, something of it is done (see reduced.py)."""

        def there() -> bool:
            state = read_state(self.layout.run)
            step = None if state is None else state.step
            return step is not None and step.name.startswith(stage) and (step.done > 0 or step.of <= 2)

        assert eventually(there, PATIENCE), read_state(self.layout.run)
        state = read_state(self.layout.run)
        assert state is not None
        return state

    def require_nothing_behind(self) -> None:
        assert eventually(lambda: self.living() == [], 40), self.living()
        control.down(self.layout)
        assert not is_held(self.layout.run)
        assert read_state(self.layout.run) is None
        assert all(is_free(port) for port in self.ports.as_dict().values())
        root = self.layout.root
        assert [str(path) for path in root.rglob(".*")] == []


@pytest.fixture
def hour(tmp_path: Path) -> Iterator[Hour]:
    made = Hour(Layout(tmp_path / "state"))
    yield made
    for process in made.living():
        process.kill()


def test_a_command_ended_at_any_stage_leaves_nothing_and_the_next_goes_on(hour: Hour) -> None:
    layout = hour.layout
    _ended(hour, ("demo",), "fetching the interactions", signal.SIGKILL)

    _ended(hour, ("up",), "rendering posters", signal.SIGKILL)
    drawn = _moments(layout.posters, "*.png")
    assert drawn

    _ended(hour, ("demo",), "captioning", signal.SIGTERM)
    kept = _moments(layout.posters, "*.png")
    assert sum(kept.get(name) == moment for name, moment in drawn.items()) >= len(drawn) - 25

    _downed(hour, "exporting")
    runs = _moments(layout.checkpoints, "*.safetensors")
    assert len(runs) == 4
    assert not bundle_path(layout, RANKER).exists()

    _ended(hour, ("demo",), "filling Triton's repository", signal.SIGINT)
    assert _moments(layout.checkpoints, "*.safetensors") == runs
    trained = {name: read_bundle(bundle_path(layout, name)).id for name in (RANKER, ABLATION)}

    _ended(hour, ("up",), "waiting for the triton", signal.SIGINT)
    assert not layout.unfinished.exists()
    assert not layout.checkpoints.exists()

    code, said = hour.run("up")
    assert code == 0, said
    assert {name: read_bundle(bundle_path(layout, name)).id for name in (RANKER, ABLATION)} == trained
    assert _moments(layout.posters, "*.png") == kept
    os.kill(_state(layout).pid, signal.SIGKILL)
    assert eventually(lambda: not is_held(layout.run))
    assert control.down(layout)
    hour.require_nothing_behind()


def test_two_commands_at_once_agree(hour: Hour) -> None:
    demo = hour.start("demo", halt="rendering posters")
    hour.at("rendering posters")
    code, said = hour.run("up")
    assert code == 1
    assert "sightline demo is at work here (pid" in said
    assert "or end it: sightline down" in said
    code, said = hour.run("status")
    assert code == 0
    assert "rendering posters" in said
    with_each_other = [threading.Thread(target=control.down, args=(hour.layout,)) for _ in range(2)]
    for thread in with_each_other:
        thread.start()
    for thread in with_each_other:
        thread.join(PATIENCE)
    demo.communicate(timeout=PATIENCE)
    assert demo.returncode == 128 + signal.SIGTERM
    hour.require_nothing_behind()

    first, second = hour.start("up"), hour.start("up")
    told = [each.communicate(timeout=PATIENCE)[0] for each in (first, second)]
    assert [first.returncode, second.returncode] == [0, 0], told
    assert all("Sightline, ready since" in said for said in told)
    assert control.down(hour.layout)
    hour.require_nothing_behind()


def _ended(hour: Hour, words: tuple[str, ...], stage: str, sent: signal.Signals) -> None:
    """Start a command, end it at a stage, see that nothing is left."""
    process = hour.start(*words, halt=stage)
    hour.at(stage)
    process.send_signal(sent)
    said, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == (-sent if sent is signal.SIGKILL else 128 + sent), said
    hour.require_nothing_behind()


def _downed(hour: Hour, stage: str) -> None:
    """`make down` during the first `make up`."""
    process = hour.start("up", halt=stage)
    hour.at(stage)
    assert control.down(hour.layout)
    said, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 1
    assert "stopped before it was ready; what was finished is kept" in said
    hour.require_nothing_behind()


def _state(layout: Layout) -> StackState:
    state = read_state(layout.run)
    assert state is not None
    return state


def _moments(folder: Path, pattern: str) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in folder.glob(pattern)}


def test_a_lock_is_not_lost_to_those_who_only_look(tmp_path: Path) -> None:
    """Looking takes the lock for microseconds: whoever wants it then waits instead of being refused."""
    from serving.stack.lock import exclusive

    over = threading.Event()

    def look() -> None:
        while not over.is_set():
            is_held(tmp_path)

    lookers = [threading.Thread(target=look) for _ in range(4)]
    for each in lookers:
        each.start()
    try:
        for _ in range(200):
            with exclusive(tmp_path):
                assert is_held(tmp_path)
            time.sleep(0)
    finally:
        over.set()
        for each in lookers:
            each.join()
