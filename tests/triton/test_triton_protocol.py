"""Readiness, metadata, errors and model control of the real Triton, as curl sees them."""

import json
import shutil
from pathlib import Path

import pytest
import tritonclient.grpc as grpc_client

from models.triton.repository import place_model
from serving.ranker.command import TritonServerError
from serving.stack.triton_server import ask, free_port, is_ready, load_model, running_triton


def get(port, path):
    status, body = ask(port, path)
    return status, json.loads(body) if body else None


def test_the_server_and_the_model_report_ready(triton):
    assert is_ready(triton.ports.http)
    assert get(triton.ports.http, "/v2/health/live")[0] == 200
    assert get(triton.ports.http, "/v2/models/ranker/ready")[0] == 200
    assert get(triton.ports.http, "/v2/models/ranker/versions/1/ready")[0] == 200


def test_model_metadata_lists_the_tensors_of_the_contract(triton):
    status, metadata = get(triton.ports.http, "/v2/models/ranker")
    assert status == 200
    assert [(tensor["name"], tensor["datatype"], tensor["shape"]) for tensor in metadata["inputs"]] == [
        ("dense", "FP32", [-1, 1]),
        ("categorical", "INT64", [-1, 2]),
        ("caption", "INT64", [-1, 15]),
    ]
    assert [(tensor["name"], tensor["datatype"], tensor["shape"]) for tensor in metadata["outputs"]] == [
        ("score", "FP32", [-1, 1])
    ]


def test_the_model_config_carries_the_contract_digest_and_the_bundle_id(triton):
    with grpc_client.InferenceServerClient(f"127.0.0.1:{triton.ports.grpc}") as client:
        parameters = client.get_model_config("ranker").config.parameters
    assert parameters["contract_digest"].string_value == triton.bundle.contract.digest
    assert parameters["bundle"].string_value == triton.bundle.id


def test_an_unknown_model_is_answered_with_an_error_that_names_it(triton):
    status, answer = get(triton.ports.http, "/v2/models/nobody")
    assert status == 404
    assert "nobody" in answer["error"]


def test_metrics_are_served_on_loopback(triton):
    status, body = ask(triton.ports.metrics, "/metrics")
    assert status == 200
    assert b'nv_inference_request_success{model="ranker"' in body


@pytest.fixture(scope="module")
def changing(bundled, tmp_path_factory):
    """A server whose repository the tests change: `good` stays, the others are broken on purpose."""
    _, bundle = bundled
    folder = tmp_path_factory.mktemp("changing")
    repository = folder / "repository"
    for name in ("good", "corrupt", "mismatch"):
        place_model(repository, name, bundle, platform="python")
    (repository / "corrupt" / "1" / "model.onnx").write_bytes(b"no model")
    config = repository / "mismatch" / "config.pbtxt"
    config.write_text(config.read_text().replace(bundle.contract.digest, "sha256:" + "0" * 64))
    with running_triton(repository, folder / "work", wait_ready=False) as ports:
        yield ports, repository, folder / "work" / "triton.log"


def wait_until_loaded(ports):
    status, _ = get(ports.http, "/v2/models/good/ready")
    assert status == 200


def test_broken_models_leave_the_server_live_and_not_ready_with_the_reason(changing):
    ports, _, _ = changing
    wait_until_loaded(ports)
    assert not is_ready(ports.http)
    status, body = ask(ports.http, "/v2/repository/index", method="POST", body=b"{}")
    assert status == 200
    reasons = {model["name"]: model.get("reason", "") for model in json.loads(body)}
    assert "config.pbtxt expects" in reasons["corrupt"]
    assert "was exported for contract" in reasons["mismatch"]
    assert not reasons["good"]


def test_a_new_version_is_served_after_load_without_a_restart(changing, bundled):
    ports, repository, _ = changing
    wait_until_loaded(ports)
    assert place_model(repository, "good", bundled[1], platform="python", keep=1) == 2
    load_model(ports.http, "good")
    assert get(ports.http, "/v2/models/good")[1]["versions"] == ["2"]


def test_a_broken_new_version_is_refused_and_the_old_one_keeps_serving(changing, bundled):
    ports, repository, _ = changing
    wait_until_loaded(ports)
    serving = get(ports.http, "/v2/models/good")[1]["versions"]
    version = place_model(repository, "good", bundled[1], platform="python")
    (repository / "good" / str(version) / "model.onnx").write_bytes(b"no model")
    with pytest.raises(TritonServerError, match=r"'good'.*config.pbtxt expects"):
        load_model(ports.http, "good")
    assert get(ports.http, "/v2/models/good")[1]["versions"] == serving
    shutil.rmtree(repository / "good" / str(version))


def test_the_server_ends_within_seconds_and_leaves_no_shared_memory(bundled, tmp_path):
    place_model(tmp_path / "repository", "ranker", bundled[1], platform="python")
    before = set(Path("/dev/shm").glob("sightline-*"))
    with running_triton(tmp_path / "repository", tmp_path / "work") as ports:
        assert is_ready(ports.http)
    assert not is_ready(ports.http)
    assert set(Path("/dev/shm").glob("sightline-*")) <= before


def test_nobody_answering_is_not_ready():
    assert not is_ready(free_port())


def test_a_missing_repository_is_refused_before_anything_starts(tmp_path):
    with (
        pytest.raises(TritonServerError, match="place a model in it first"),
        running_triton(tmp_path / "nothing", tmp_path / "work"),
    ):
        pass
