"""Readiness, metadata, errors and model control of the real Triton, as curl sees them."""

import json
import shutil
import socket
from pathlib import Path

import psutil
import pytest
import tritonclient.grpc as grpc_client

from models.triton.repository import place_model
from serving.ranker.command import RESTRICTION_HEADER, TritonServerError
from serving.stack.triton_server import ask, free_port, is_ready, load_model, running_triton

KEY = "a key of these tests"


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


RESTRICTED_CALLS = [
    ("POST", "/v2/repository/models/planted/load", b'{"parameters": {"file:1/model.py": "cHJpbnQoMSk="}}'),
    ("POST", "/v2/repository/models/ranker/load", b"{}"),
    ("POST", "/v2/repository/models/ranker/unload", b"{}"),
    ("POST", "/v2/repository/index", b"{}"),
    ("POST", "/v2/systemsharedmemory/region/mine/register", b'{"key": "/mine", "offset": 0, "byte_size": 8}'),
    ("GET", "/v2/systemsharedmemory/status", None),
    ("POST", "/v2/systemsharedmemory/unregister", b"{}"),
    ("GET", "/v2/cudasharedmemory/status", None),
    ("GET", "/v2/models/stats", None),
    ("GET", "/v2/models/ranker/stats", None),
    ("GET", "/v2/logging", None),
    ("POST", "/v2/logging", b'{"log_verbose_level": 9}'),
    ("GET", "/v2/trace/setting", None),
    ("POST", "/v2/models/ranker/trace/setting", b'{"trace_level": ["TENSORS"]}'),
]


@pytest.mark.parametrize(("method", "path", "body"), RESTRICTED_CALLS)
@pytest.mark.parametrize("header", [{}, {RESTRICTION_HEADER: ""}, {RESTRICTION_HEADER: "a guess"}])
def test_who_reaches_the_port_cannot_load_unload_or_look_into_the_server(triton, method, path, body, header):
    status, answer = ask(triton.ports.http, path, method=method, body=body, headers=header)
    assert status == 403
    assert RESTRICTION_HEADER in json.loads(answer)["error"]
    assert is_ready(triton.ports.http)


@pytest.mark.parametrize("path", ["infer", "versions/1/infer", "generate", "generate_stream"])
def test_a_body_in_a_million_pieces_does_not_end_the_server(triton, path):
    """CVE-2025-23310: whoever reached the port ended release 24.10 by one inference. Without the key none is read."""
    head = f"POST /v2/models/ranker/{path} HTTP/1.1\r\nHost: here\r\nTransfer-Encoding: chunked\r\n\r\n"
    with socket.create_connection(("127.0.0.1", triton.ports.http), timeout=60) as connection:
        connection.sendall(head.encode())
        for _ in range(20):
            connection.sendall(b"1\r\n{\r\n" * 50_000)
        connection.sendall(b"0\r\n\r\n")
        answer = connection.recv(1000)
    assert answer.startswith(b"HTTP/1.1 403 ")
    assert RESTRICTION_HEADER.encode() in answer
    assert is_ready(triton.ports.http)


@pytest.mark.parametrize(
    "call",
    [
        lambda client: client.load_model("planted", config="{}", files={"file:1/model.py": b"print(1)"}),
        lambda client: client.unload_model("ranker"),
        lambda client: client.get_model_repository_index(),
        lambda client: client.register_system_shared_memory("mine", "/mine", 8),
        lambda client: client.get_system_shared_memory_status(),
        lambda client: client.get_cuda_shared_memory_status(),
        lambda client: client.get_inference_statistics(),
        lambda client: client.get_log_settings(),
        lambda client: client.update_log_settings({"log_verbose_level": 9}),
        lambda client: client.update_trace_settings("ranker", {"trace_level": ["TENSORS"]}),
    ],
)
def test_nor_by_grpc(triton, call):
    with (
        grpc_client.InferenceServerClient(f"127.0.0.1:{triton.ports.grpc}") as client,
        pytest.raises(grpc_client.InferenceServerException, match="This protocol is restricted"),
    ):
        call(client)
    assert is_ready(triton.ports.http)


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
    with running_triton(repository, folder / "work", wait_ready=False, reload_key=KEY) as ports:
        yield ports, repository, folder / "work" / "triton.log"


def wait_until_loaded(ports):
    status, _ = get(ports.http, "/v2/models/good/ready")
    assert status == 200


def test_broken_models_leave_the_server_live_and_not_ready_with_the_reason(changing):
    ports, _, _ = changing
    wait_until_loaded(ports)
    assert not is_ready(ports.http)
    status, body = ask(ports.http, "/v2/repository/index", method="POST", body=b"{}", headers={RESTRICTION_HEADER: KEY})
    assert status == 200
    reasons = {model["name"]: model.get("reason", "") for model in json.loads(body)}
    assert "config.pbtxt expects" in reasons["corrupt"]
    assert "was exported for contract" in reasons["mismatch"]
    assert not reasons["good"]


def test_a_new_version_is_served_after_load_without_a_restart(changing, bundled):
    ports, repository, _ = changing
    wait_until_loaded(ports)
    assert place_model(repository, "good", bundled[1], platform="python", keep=1) == 2
    load_model(ports.http, "good", key=KEY)
    assert get(ports.http, "/v2/models/good")[1]["versions"] == ["2"]


def test_a_broken_new_version_is_refused_and_the_old_one_keeps_serving(changing, bundled):
    ports, repository, _ = changing
    wait_until_loaded(ports)
    serving = get(ports.http, "/v2/models/good")[1]["versions"]
    version = place_model(repository, "good", bundled[1], platform="python")
    (repository / "good" / str(version) / "model.onnx").write_bytes(b"no model")
    with pytest.raises(TritonServerError, match=r"'good'.*config.pbtxt expects"):
        load_model(ports.http, "good", key=KEY)
    assert get(ports.http, "/v2/models/good")[1]["versions"] == serving
    shutil.rmtree(repository / "good" / str(version))


def test_the_server_ends_within_seconds_and_leaves_no_shared_memory(bundled, tmp_path):
    place_model(tmp_path / "repository", "ranker", bundled[1], platform="python")
    with running_triton(tmp_path / "repository", tmp_path / "work") as ports:
        assert is_ready(ports.http)
        commands = [each.info["cmdline"] or [] for each in psutil.process_iter(["cmdline"])]
        (own,) = {
            word.rpartition("shm-region-prefix-name=")[2]
            for command in commands
            if f"--http-port={ports.http}" in command
            for word in command
            if "shm-region-prefix-name=" in word
        }
        assert list(Path("/dev/shm").glob(f"{own}*")), "it has some while it runs"
    assert not is_ready(ports.http)
    assert list(Path("/dev/shm").glob(f"{own}*")) == [], "other servers of the machine have theirs"


def test_nobody_answering_is_not_ready():
    assert not is_ready(free_port())


def test_a_missing_repository_is_refused_before_anything_starts(tmp_path):
    with (
        pytest.raises(TritonServerError, match="place a model in it first"),
        running_triton(tmp_path / "nothing", tmp_path / "work"),
    ):
        pass
