"""NVIDIA's Triton as the chart starts it, with the wheel's server in its place: nobody has a key to what runs code."""

import os
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest
import tritonclient.grpc as grpc_client
from scenario import load

from serving.ranker.command import RESTRICTION_HEADER, TritonCommand
from serving.stack.triton_server import ask, free_port

UID = "e5f5a2c8-0f40-4f0c-b3b5-7b8b1ec0b7a4"
"""A pod's own uid: kube-state-metrics, events and whoever may list pods tell it to everybody."""


@pytest.fixture(scope="module")
def http(tmp_path_factory: pytest.TempPathFactory):
    folder = tmp_path_factory.mktemp("triton")
    (folder / "models").mkdir()
    wheel = TritonCommand(folder / "models", *(free_port() for _ in range(3)), workdir=folder / "work")
    wheel.prepare()
    (container,) = load("kserve").pod("ranker").containers
    here = {"9000": wheel.grpc_port, "8080": wheel.http_port, "8002": wheel.metrics_port}
    words = [re.sub(r"(?<=-port=)\d+$", lambda found: str(here[found[0]]), word) for word in container["args"]]
    line = [*container["command"], *words, f"--model-repository={folder / 'models'}", "--http-address=127.0.0.1"]
    line = [word for word in line if word != "--model-repository=/mnt/models"]
    line += ["--grpc-address=127.0.0.1", "--metrics-address=127.0.0.1", "--allow-gpu-metrics=false"]
    variables = wheel.env(os.environ)
    variables["PATH"] = f"{Path(wheel.argv[0]).parent}:{variables['PATH']}"
    open_to_all = [each for each in container.get("env", []) if "secretKeyRef" not in each.get("valueFrom", {})]
    variables |= {each["name"]: UID for each in open_to_all}
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(line, env=variables, stdout=log, stderr=log)
    try:
        end = time.monotonic() + 60
        while True:
            assert process.poll() is None, (folder / "log").read_text()
            try:
                if ask(wheel.http_port, "/v2/health/live")[0] == 200:
                    break
            except OSError:
                assert time.monotonic() < end, (folder / "log").read_text()
                time.sleep(0.1)
        yield wheel.ports
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)


@pytest.mark.parametrize("key", ["", UID, "$(POD_UID)", "$key", None])
@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v2/repository/models/planted/load", b'{"parameters": {"file:1/model.py": "cHJpbnQoMSk="}}'),
        ("/v2/repository/index", b"{}"),
        ("/v2/systemsharedmemory/region/mine/register", b'{"key": "/mine", "offset": 0, "byte_size": 8}'),
        ("/v2/logging", b'{"log_verbose_level": 9}'),
        ("/v2/models/ranker/infer", b'{"inputs": []}'),
    ],
)
def test_the_pods_uid_opens_nothing(http, key, path, body):
    status, _ = ask(http.http, path, method="POST", body=body, headers={} if key is None else {RESTRICTION_HEADER: key})
    assert status == 403


@pytest.mark.parametrize("key", [UID, "$(POD_UID)", ""])
def test_nor_by_grpc(http, key):
    headers = {f"triton-grpc-protocol-{RESTRICTION_HEADER}": key}
    with (
        grpc_client.InferenceServerClient(f"127.0.0.1:{http.grpc}") as client,
        pytest.raises(grpc_client.InferenceServerException, match="This protocol is restricted"),
    ):
        client.load_model("planted", config="{}", headers=headers)
