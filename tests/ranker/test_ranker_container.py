"""The ranker's container command with the real Triton: it serves, refuses, and ends as Kubernetes expects."""

import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import tritonclient.grpc as grpc_client

from models.triton.repository import place_model
from serving.ranker.command import TritonPorts
from serving.stack.triton_server import ask, free_port, is_ready

SLOW_MODEL = """
import time
import numpy as np
import triton_python_backend_utils as pb_utils

class TritonPythonModel:
    def execute(self, requests):
        time.sleep(3)
        return [pb_utils.InferenceResponse([pb_utils.Tensor("y", np.ones(1, np.float32))]) for _ in requests]
"""
SLOW_CONFIG = """name: "slow"
backend: "python"
max_batch_size: 0
input { name: "x" data_type: TYPE_FP32 dims: [ 1 ] }
output { name: "y" data_type: TYPE_FP32 dims: [ 1 ] }
"""


def infer(port, model, tensors):
    with grpc_client.InferenceServerClient(f"127.0.0.1:{port}") as client:
        inputs = []
        for name, values in tensors.items():
            kind = {"f": "FP32", "i": "INT64"}[values.dtype.kind]
            inputs.append(grpc_client.InferInput(name, list(values.shape), kind).set_data_from_numpy(values))
        return client.infer(model, inputs)


@pytest.fixture
def refused(ranker_argv):
    """What the command says when it does not become Triton."""

    def run(*arguments, work, ports=None, env=None):
        argv = ranker_argv(ports or TritonPorts(free_port(), free_port(), free_port()), work, *arguments)
        return subprocess.run(argv, capture_output=True, text=True, timeout=60, env={**os.environ, **(env or {})})

    return run


@pytest.fixture(scope="module")
def ranker(running_ranker, bundle, tmp_path_factory):
    folder = tmp_path_factory.mktemp("ranker")
    with running_ranker(folder, "--bundle", str(bundle.path), "--also", f"second={bundle.path}") as running:
        yield running


def test_the_process_has_become_triton(ranker):
    assert Path(f"/proc/{ranker.process.pid}/comm").read_text().strip() == "tritonserver"


def test_every_bundle_is_scored_under_its_name_with_its_digest(ranker, bundle):
    rows = {tensor.name: np.ones((3, *tensor.shape[1:]), np.dtype(tensor.dtype)) for tensor in bundle.contract.tensors}
    scores = [infer(ranker.ports.grpc, name, rows).as_numpy("score") for name in ("ranker", "second")]
    assert scores[0].shape == (3, 1)
    assert np.array_equal(scores[0], scores[1])
    config = json.loads(ask(ranker.ports.http, "/v2/models/second/config")[1])
    assert config["parameters"]["contract_digest"]["string_value"] == bundle.contract.digest


def test_metrics_are_on_their_own_port(ranker):
    status, body = ask(ranker.ports.metrics, "/metrics")
    assert status == 200
    assert b"nv_inference_request_success" in body


def test_nothing_is_written_outside_the_working_folder_and_shared_memory(running_ranker, bundle, tmp_path):
    before = set(bundle.path.rglob("*"))
    with running_ranker(tmp_path / "one", "--bundle", str(bundle.path)) as running:
        writable = {
            os.readlink(link)
            for link in Path(f"/proc/{running.process.pid}/fd").iterdir()
            if os.access(link, os.W_OK) and os.readlink(link).startswith("/") and os.readlink(link) != "/dev/null"
        }
    inside = (str(tmp_path), "/dev/shm/sightline-")
    assert {path for path in writable if not path.startswith(inside)} == set()
    assert set(bundle.path.rglob("*")) == before


def test_sigterm_lets_calls_in_progress_finish_and_exits_with_zero(running_ranker, tmp_path):
    model = tmp_path / "repository" / "slow"
    (model / "1").mkdir(parents=True)
    (model / "config.pbtxt").write_text(SLOW_CONFIG)
    (model / "1" / "model.py").write_text(SLOW_MODEL)
    answers = []
    with running_ranker(tmp_path / "run", "--repository", str(tmp_path / "repository")) as running:
        tensors = {"x": np.zeros(1, np.float32)}
        call = threading.Thread(target=lambda: answers.append(infer(running.ports.grpc, "slow", tensors).as_numpy("y")))
        call.start()
        time.sleep(1)
        running.process.send_signal(signal.SIGTERM)
        code = running.process.wait(30)
        call.join(10)
    assert [answer.tolist() for answer in answers] == [[1.0]]
    assert code == 0


def test_an_open_http_connection_delays_the_end_by_the_exit_timeout_at_most(running_ranker, bundle, tmp_path):
    with running_ranker(tmp_path, "--bundle", str(bundle.path), "--exit-timeout-seconds=1") as running:
        idle = http.client.HTTPConnection("127.0.0.1", running.ports.http)
        idle.request("GET", "/v2/health/ready")
        idle.getresponse().read()
        started = time.monotonic()
        running.process.send_signal(signal.SIGTERM)
        assert running.process.wait(20) == 1
        assert time.monotonic() - started < 10
        idle.close()


def test_open_grpc_connections_such_as_the_transformers_do_not_delay_the_end(running_ranker, bundle, tmp_path):
    with (
        running_ranker(tmp_path, "--bundle", str(bundle.path)) as running,
        grpc_client.InferenceServerClient(f"127.0.0.1:{running.ports.grpc}") as client,
    ):
        assert client.is_model_ready("ranker")
        started = time.monotonic()
        running.process.send_signal(signal.SIGTERM)
        assert running.process.wait(20) == 0
        assert time.monotonic() - started < 10


def test_a_second_start_in_the_same_folder_serves_what_it_is_given_now(running_ranker, bundle, tmp_path):
    for name in ("first", "second"):
        with running_ranker(tmp_path, "--bundle", str(bundle.path), "--model-name", name) as running:
            found = [ask(running.ports.http, f"/v2/models/{model}")[0] for model in ("first", "second")]
            assert found == [200 if model == name else 404 for model in ("first", "second")]


def test_a_mounted_repository_is_served_as_it_is(running_ranker, bundle, tmp_path):
    repository = tmp_path / "repository"
    place_model(repository, "mounted", bundle, platform="python")
    for path in (repository, *repository.rglob("*")):
        path.chmod(0o555 if path.is_dir() else 0o444)
    with running_ranker(tmp_path / "run", "--repository", str(repository)) as running:
        assert ask(running.ports.http, "/v2/models/mounted/ready")[0] == 200
        assert not (tmp_path / "run" / "work" / "repository").exists()


def test_a_broken_model_in_a_repository_is_live_and_not_ready_with_the_reason_in_the_log(ranker_argv, bundle, tmp_path):
    repository = tmp_path / "repository"
    place_model(repository, "broken", bundle, platform="python")
    (repository / "broken" / "1" / "model.onnx").write_bytes(b"no model")
    ports = TritonPorts(free_port(), free_port(), free_port())
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(ranker_argv(ports, tmp_path / "work", f"--repository={repository}"), stderr=log)
    try:
        deadline = time.monotonic() + 30
        while not (live := _is_live(ports.http)) and time.monotonic() < deadline:
            time.sleep(0.2)
        assert live
        assert not is_ready(ports.http)
        assert "config.pbtxt expects" in (tmp_path / "log").read_text()
    finally:
        process.terminate()
        assert process.wait(20) == 0


def _is_live(port):
    try:
        return ask(port, "/v2/health/live")[0] == 200
    except OSError:
        return False


def test_a_missing_bundle_is_refused(refused, tmp_path):
    answer = refused("--bundle", str(tmp_path / "nothing"), work=tmp_path / "work")
    assert answer.returncode == 1
    assert f"bundle {tmp_path / 'nothing'} has no readable manifest.json" in answer.stderr


def test_a_changed_file_is_refused_by_its_name_and_digests(refused, bundle, tmp_path):
    copy = shutil.copytree(bundle.path, tmp_path / "bundle")
    with (copy / "model.onnx").open("ab") as file:
        file.write(b"x")
    answer = refused("--bundle", str(copy), work=tmp_path / "work")
    assert answer.returncode == 1
    assert "model.onnx has sha256:" in answer.stderr
    assert "the file was changed or damaged" in answer.stderr


@pytest.mark.parametrize("name", ["grpc", "http", "metrics"])
def test_a_port_in_use_is_named_with_its_option(refused, name, bundle, tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        ports = {"grpc": free_port(), "http": free_port(), "metrics": free_port(), name: taken.getsockname()[1]}
        answer = refused("--bundle", str(bundle.path), work=tmp_path / "work", ports=TritonPorts(**ports))
    assert answer.returncode == 3
    assert f"port {ports[name]} cannot be listened on (Address already in use)" in answer.stderr
    assert f"--{name}-port" in answer.stderr


def test_an_empty_repository_is_refused(refused, tmp_path):
    (tmp_path / "repository").mkdir()
    answer = refused("--repository", str(tmp_path / "repository"), work=tmp_path / "work")
    assert answer.returncode == 1
    assert "has no <model>/config.pbtxt" in answer.stderr


def test_a_working_folder_of_somebody_else_is_left_alone(refused, bundle, tmp_path):
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "repository").write_text("precious")
    answer = refused("--bundle", str(bundle.path), work=tmp_path / "theirs")
    assert answer.returncode == 1
    assert "holds files of somebody else" in answer.stderr
    assert (tmp_path / "theirs" / "repository").read_text() == "precious"


def test_unusable_settings_exit_with_two(refused, tmp_path):
    answer = refused("--repository=/a", "--bundle=/b", work=tmp_path / "work")
    assert answer.returncode == 2
    assert "the ranker's settings cannot be used" in answer.stderr


def test_a_service_link_of_kubernetes_is_named(refused, bundle, tmp_path):
    # A Service called sightline-ranker injects these into every pod that has enableServiceLinks.
    link = {"SIGHTLINE_RANKER_PORT": "tcp://10.0.0.1:9000"}
    answer = refused("--bundle", str(bundle.path), work=tmp_path / "work", env=link)
    assert answer.returncode == 2
    assert "SIGHTLINE_RANKER_PORT: there is no setting 'port'" in answer.stderr
