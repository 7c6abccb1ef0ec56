"""An installation behind certificates, started as rendered: all its parts work, and none answers without TLS."""

import base64
import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest
import tritonclient.grpc as grpc_client
from authority import Authority
from rendered_pods import Machine, Started, container, run, short_folder, started
from scenario import CHART

from charts.tooling.render import parse, render
from serving.tls import CA_FILE, believed

pytestmark = [
    pytest.mark.timeout(500),
    pytest.mark.skipif(shutil.which("redis-server") is None, reason="no redis-server: apt-get install redis-server"),
]
PROFILE = CHART / "values-kind.yaml"
SETTINGS = (
    *("tls.enabled=true", "tls.issuer.name=a-ca", "experiments.enabled=true"),
    *("experiments.assignments.via=redis", "experiments.controller.enabled=false"),
)
PARTS = ("ranker", "items", "collector", "captioner", "transformer")


@pytest.fixture(scope="module")
def machine(demo: Path) -> Iterator[Machine]:
    with short_folder() as folder:
        yield Machine(parse(render([PROFILE], SETTINGS)), demo, folder, authority=Authority())


@pytest.fixture(scope="module")
def parts(machine: Machine) -> Iterator[dict[str, Started]]:
    """Every server, ready by its probes; ended the other way round."""
    with ExitStack() as stack:
        yield {part: stack.enter_context(started(container(machine, machine.pod(part)))) for part in PARTS}


def ca(machine: Machine) -> Path:
    file = machine.folder / "ca.crt"
    file.write_bytes(machine.authority.pem if machine.authority else b"")
    return file


def test_the_bootstrap_job_captions_and_fills_the_store_over_tls(
    machine: Machine, parts: dict[str, Started], demo: Path
) -> None:
    job = container(machine, machine.pod("bootstrap"))
    assert {word for word in job.command if "://" in word} >= {
        f"--captioner=https://127.0.0.1:{machine.port('captioner', 8000)}",
        f"--store=rediss://127.0.0.1:{machine.port('items', 6379)}/0",
    }
    done = run(job)
    assert done.returncode == 0, done.stderr[-4000:]
    url = f"http://127.0.0.1:{machine.port('transformer', 8080)}/v1/models/ranker:predict"
    end = time.monotonic() + 30
    while True:
        (prediction,) = httpx.post(url, content=(demo / "request.json").read_bytes(), timeout=20).json()["predictions"]
        if not prediction["degraded"] or time.monotonic() > end:
            break
        time.sleep(0.5)
    assert prediction["degraded"] == []
    assert {entry["caption"] for entry in prediction["ranking"]} == {"known"}


def test_helm_test_sees_a_whole_installation(machine: Machine, parts: dict[str, Started]) -> None:
    done = run(container(machine, machine.pod("test")), timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "skipped" not in done.stdout


def test_triton_answers_no_grpc_without_tls(machine: Machine, parts: dict[str, Started]) -> None:
    address = f"127.0.0.1:{machine.port('ranker', 9000)}"
    with grpc_client.InferenceServerClient(address) as plain, pytest.raises(grpc_client.InferenceServerException):
        plain.is_server_live()
    with grpc_client.InferenceServerClient(address, ssl=True, root_certificates=str(ca(machine))) as client:
        assert client.is_model_ready("ranker"), "the certificate is for localhost too, for kubectl port-forward"


def test_the_store_answers_nobody_without_tls(machine: Machine, parts: dict[str, Started]) -> None:
    secret = machine.object("Secret", "sightline-items")["data"]
    env = {"PATH": "/usr/bin:/bin", "REDISCLI_AUTH": base64.b64decode(secret["reader-password"]).decode()}
    words = ["redis-cli", "-p", str(machine.port("items", 6379)), "--user", "reader"]
    plain = subprocess.run([*words, "ping"], env=env, capture_output=True, text=True, check=False, timeout=20)
    assert "PONG" not in plain.stdout
    tls = [*words, "--tls", "--cacert", str(ca(machine)), "ping"]
    assert subprocess.run(tls, env=env, capture_output=True, text=True, check=True, timeout=20).stdout == "PONG\n"


@pytest.mark.parametrize(
    ("part", "port", "path"), [("collector", 8090, "/health/ready"), ("captioner", 8000, "/health")]
)
def test_collector_and_captioner_answer_https_alone(
    machine: Machine, parts: dict[str, Started], part: str, port: int, path: str
) -> None:
    where = f"127.0.0.1:{machine.port(part, port)}{path}"
    with pytest.raises(httpx.TransportError):
        httpx.get(f"http://{where}", timeout=10, trust_env=False)
    with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
        httpx.get(f"https://{where}", timeout=10, trust_env=False)
    context = believed({CA_FILE: str(ca(machine))})
    assert httpx.get(f"https://{where}", timeout=10, trust_env=False, verify=context).status_code == 200


def test_outcomes_are_taken_over_https(machine: Machine, parts: dict[str, Started]) -> None:
    secret = machine.object("Secret", "sightline-collector-tokens")["data"]
    event = {"id": "1", "user": "u1", "time": time.time(), "event": "purchase", "value": 1}
    words = ["curl", "-sS", "--cacert", str(ca(machine)), "-H", "content-type: application/json"]
    words += ["-H", f"authorization: Bearer {base64.b64decode(secret['outcomes']).decode()}"]
    words += ["-d", json.dumps([event]), f"https://localhost:{machine.port('collector', 8090)}/v1/outcomes"]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=20)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["stored"] == 1, done.stdout


@pytest.mark.parametrize("part", PARTS[::-1])
def test_a_part_ends_within_its_grace(parts: dict[str, Started], part: str) -> None:
    """The last tests: they end it."""
    code, seconds = parts[part].end()
    assert code == 0, f"{code} after {seconds:.1f} s\n{parts[part].tail()}"
