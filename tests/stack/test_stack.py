"""The whole system on this machine: Ray Serve, Triton, the transformer, as `sightline up` leaves them."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from stack_fixtures import Running, Small, eventually

from models.bundle import read_bundle
from models.contract import FeatureEncoder
from serving.items.lmdb_store import LmdbStore
from serving.stack import ask, calls, control, parts, showcase
from serving.stack.errors import StackError
from serving.stack.layout import Layout
from serving.stack.lock import StackBusyError, is_held
from serving.stack.orphans import marked
from serving.stack.ports import HOST, free_ports
from serving.stack.services import ABLATION, RANKER, bundle_path
from serving.stack.state import read_state

pytestmark = pytest.mark.timeout(420)


def sightline(layout: Layout, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "serving.cli.main", "--root", str(layout.root), *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def test_every_poster_has_a_caption_in_the_store(small: Small) -> None:
    with LmdbStore.open(small.layout.store, readonly=True) as store:
        rows = list(store.items())
    assert len(rows) == 1682
    assert all(row.caption is not None and row.caption.text.startswith("a ") for row in rows)
    assert small.made.captioned.refused == {}


def test_rest_and_grpc_and_onnxruntime_agree(running: Running) -> None:
    user = showcase.choose_users(running.made.catalogue)[0]
    asked = showcase.question(running.made.catalogue, user)
    ranked = showcase.rank(running.ports, asked)
    bundle = read_bundle(bundle_path(running.layout, RANKER))
    encoder = FeatureEncoder(bundle.contract)
    with LmdbStore.open(running.layout.store, readonly=True) as store:
        items = [row for row in store.get_many(list(asked.items)) if row is not None]
        person = store.get_user(user)
    assert person is not None
    names = bundle.contract.names("item")
    tensors = encoder.join(
        encoder.side("user", {name: [value] for name, value in person.features.items()}, 1),
        encoder.side("context", {name: [value] for name, value in asked.context.items()}, 1),
        encoder.side("item", {name: [row.features[name] for row in items] for name in names}, len(items)),
        encoder.caption([row.caption.tokens if row.caption else None for row in items]),
    )
    session = onnxruntime.InferenceSession(bundle.onnx_path, providers=["CPUExecutionProvider"])
    expected = np.asarray(session.run(["score"], tensors)[0]).reshape(-1)
    assert ranked.protocols_differ < 1e-6
    np.testing.assert_allclose([ranked.scores[item] for item in asked.items], expected, atol=1e-5)
    assert ranked.scores != ranked.scores_without


def test_the_calls_that_the_demo_prints_work(running: Running) -> None:
    asked = ask.Question("1", ["242", "302", "377"], {"hour": 20, "weekday": 5})
    rest, grpc = f"{HOST}:{running.ports.transformer_http}", f"{HOST}:{running.ports.transformer_grpc}"
    by_curl = subprocess.run(
        ["bash", "-c", calls.curl(rest, RANKER, asked)], capture_output=True, text=True, check=True, timeout=60
    )
    by_python = subprocess.run(
        [sys.executable, "-c", calls.python(grpc, RANKER, asked)],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    ranking = json.loads(by_curl.stdout)["predictions"][0]["ranking"]
    assert [line.split()[0] for line in by_python.stdout.splitlines()] == [entry["item_id"] for entry in ranking]


def test_rank_and_status_speak_json(running: Running) -> None:
    answer = sightline(running.layout, "--json", "rank", "--user", "1", "--items", "242,nosuchfilm")
    assert answer.returncode == 0, answer.stderr
    ranking = {entry["item_id"]: entry for entry in json.loads(answer.stdout)["ranking"]}
    assert ranking["242"]["caption"] == "known"
    assert ranking["nosuchfilm"]["item"] == "unknown"
    status = json.loads(sightline(running.layout, "--json", "status").stdout)
    assert status["phase"] == "ready"
    assert set(status["pids"]) == {"captioner", "transformer", "triton"}


def test_a_second_up_says_that_the_stack_runs(running: Running) -> None:
    with pytest.raises(StackBusyError, match="already running here"):
        control.up(running.layout, free_ports(), lambda state: None)
    answer = sightline(running.layout, "up")
    assert answer.returncode == 0
    assert "running already" in answer.stderr


def test_a_port_in_use_is_refused_before_anything_starts(running: Running, small: Small, tmp_path: Path) -> None:
    other = Layout(tmp_path)
    for name in ("bundles", "store", "triton"):
        (tmp_path / name).symlink_to(small.layout.root / name)
    answer = sightline(other, "up", *[w for s in running.ports.settings() for w in ("--port", s)])
    assert answer.returncode == 1
    assert f"port {running.ports.captioner} (captioner) is in use" in answer.stderr
    assert not (tmp_path / "run" / "stack.json").exists()


def test_down_leaves_no_process_even_when_the_supervisor_was_killed(running: Running) -> None:
    """The last test of the running stack: it ends it."""
    layout = running.layout
    state = read_state(layout.run)
    assert state is not None
    os.kill(state.pid, signal.SIGKILL)
    assert eventually(lambda: not is_held(layout.run))
    assert control.down(layout)
    assert marked(state.token) == []
    assert read_state(layout.run) is None
    assert not control.down(layout)


@pytest.mark.timeout(240)
@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM], ids=["Ctrl-C", "SIGTERM"])
def test_an_interrupted_demo_leaves_no_process_and_no_half_written_file(
    small: Small, tmp_path: Path, sent: signal.Signals
) -> None:
    layout = Layout(tmp_path)
    layout.data.symlink_to(small.layout.data.resolve())
    layout.posters.symlink_to(small.layout.posters.resolve())
    ports = [word for setting in free_ports().settings() for word in ("--port", setting)]
    command = [sys.executable, "-m", "serving.cli.main", "--root", str(tmp_path), "demo", *ports]
    demo = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    assert eventually(lambda: (state := read_state(layout.run)) is not None and len(marked(state.token)) > 3, 90)
    state = read_state(layout.run)
    assert state is not None
    demo.send_signal(sent)
    assert demo.wait(100) == 128 + sent  # the servers' own times to stop add up to 80 s
    assert marked(state.token) == []
    assert read_state(layout.run) is None
    assert not list(tmp_path.rglob(".*.json.*"))
    assert not layout.bundles.exists()


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda root: shutil.rmtree(root / "store"), "store"),
        (lambda root: (root / "bundles" / RANKER / "model.onnx").unlink(), "model.onnx"),
        (lambda root: _flip(root / "bundles" / RANKER / "contract.json"), "contract.json"),
        (lambda root: shutil.rmtree(root / "bundles" / ABLATION), "is missing; train again: sightline --root"),
        (lambda root: shutil.rmtree(root / "triton" / RANKER), "Triton's repository"),
    ],
    ids=["store", "onnx", "contract", "bundle", "triton"],
)
def test_a_missing_or_changed_part_is_refused(small: Small, tmp_path: Path, damage, words: str) -> None:  # type: ignore[no-untyped-def]
    for name in ("bundles", "store", "triton"):
        shutil.copytree(small.layout.root / name, tmp_path / name)
    parts.verify(Layout(tmp_path))
    damage(tmp_path)
    answer = sightline(Layout(tmp_path), "up")
    assert answer.returncode == 1
    assert words in answer.stderr
    assert "Traceback" not in answer.stderr


def test_nothing_prepared_is_told_from_something_broken(tmp_path: Path) -> None:
    assert parts.unprepared(Layout(tmp_path))
    with pytest.raises(StackError, match="make the demo's anew: sightline --root"):
        parts.verify(Layout(tmp_path))


def _flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))
