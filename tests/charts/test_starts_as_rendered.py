"""Every command line of the chart starts here as rendered, answers its probes and a request, and ends in time."""

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from rendered_pods import Machine, Started, container, run, short_folder, started
from scenario import CHART, FOLDER, ROOT

from charts.tooling.pods import Pod, pods_of
from charts.tooling.render import parse, render
from models.bundle import read_bundle

pytestmark = pytest.mark.timeout(400)

PROFILE = CHART / "values-kind.yaml"
REDIS = pytest.mark.skipif(shutil.which("redis-server") is None, reason="no redis-server: apt-get install redis-server")


@pytest.fixture(scope="module")
def kind(demo: Path) -> Iterator[Machine]:
    """The profile for kind: a Deployment of everything."""
    with short_folder() as folder:
        yield Machine(parse(render([PROFILE])), demo, folder)


def running(machine: Machine, component: str) -> Iterator[Started]:
    with started(container(machine, machine.pod(component))) as process:
        yield process


@pytest.fixture(scope="module")
def ranker(kind: Machine) -> Iterator[Started]:
    yield from running(kind, "ranker")


@pytest.fixture(scope="module")
def items(kind: Machine) -> Iterator[Started]:
    yield from running(kind, "items")


@pytest.fixture(scope="module")
def transformer(kind: Machine, ranker: Started, items: Started) -> Iterator[Started]:
    yield from running(kind, "transformer")


@pytest.fixture(scope="module")
def captioner(kind: Machine) -> Iterator[Started]:
    yield from running(kind, "captioner")


def digest(demo: Path) -> str:
    return read_bundle(demo / "bundles" / "ranker").contract.digest


def ranked(machine: Machine, demo: Path) -> dict[str, Any]:
    """The demo's own request."""
    url = f"http://127.0.0.1:{machine.port('transformer', 8080)}/v1/models/ranker:predict"
    answer = httpx.post(url, content=(demo / "request.json").read_bytes(), timeout=20)
    assert answer.status_code == 200, answer.text
    (prediction,) = answer.json()["predictions"]
    return dict(prediction)


def test_the_ranker_serves_the_demos_bundle_and_its_metrics(kind: Machine, ranker: Started, demo: Path) -> None:
    url = f"http://127.0.0.1:{kind.port('ranker', 8080)}/v2/models/ranker/config"
    assert httpx.get(url).json()["parameters"]["contract_digest"]["string_value"] == digest(demo)
    metrics = httpx.get(f"http://127.0.0.1:{kind.port('ranker', 8002)}/metrics").text
    assert 'nv_inference_request_success{model="ranker"' in metrics
    assert Path(f"/proc/{ranker.process.pid}/exe").resolve().name == "tritonserver", "signals must reach Triton itself"


@REDIS
def test_the_item_store_wants_its_password(kind: Machine, items: Started) -> None:
    words = ["redis-cli", "-p", str(kind.port("items", 6379)), "ping"]
    assert (
        "NOAUTH" in subprocess.run(words, capture_output=True, text=True, check=True, env={"PATH": "/usr/bin"}).stdout
    )


@REDIS
def test_the_first_request_is_answered_before_anything_is_captioned(
    kind: Machine, transformer: Started, demo: Path
) -> None:
    prediction = ranked(kind, demo)
    assert prediction["contract_digest"] == digest(demo)
    assert prediction["degraded"] == ["item_store_unavailable"], "nobody has written to it"
    assert {entry["caption"] for entry in prediction["ranking"]} == {"missing"}


@REDIS
def test_the_bootstrap_job_fills_the_store_through_the_captioner(
    kind: Machine, transformer: Started, captioner: Started, demo: Path
) -> None:
    job = container(kind, kind.pod("bootstrap"))
    done = run(job)
    assert done.returncode == 0, done.stderr[-4000:]
    written = [path.name for path in job.mounted("/work").rglob("*.parquet")]
    assert written == ["captions-0-of-1.parquet"]
    deadline = time.monotonic() + 15
    while (prediction := ranked(kind, demo))["degraded"] and time.monotonic() < deadline:
        time.sleep(0.5)
    assert prediction["degraded"] == []
    assert {entry["caption"] for entry in prediction["ranking"]} == {"known"}


@REDIS
def test_the_backfill_of_manifests_captions_every_shard_as_it_is(
    kind: Machine, items: Started, captioner: Started
) -> None:
    """An Indexed Job: Kubernetes gives each pod its index."""
    written = []
    for index in range(4):
        given = container(kind, by_hand("backfill"), index=index)
        done = run(given)
        assert done.returncode == 0, done.stdout + done.stderr[-3000:]
        written += [path.name for path in given.mounted("/volume").rglob("*.parquet")]
    assert written == [f"captions-{index}-of-4.parquet" for index in range(4)]


@REDIS
def test_helm_test_sees_a_whole_installation(kind: Machine, transformer: Started, captioner: Started) -> None:
    done = run(container(kind, kind.pod("test")), timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "everything that was looked at is well" in done.stdout
    assert "skipped" not in done.stdout


@REDIS
@pytest.mark.parametrize("role", ["transformer", "captioner", "ranker", "items"])
def test_a_container_ends_within_its_grace_when_it_is_told_to(role: str, request: pytest.FixtureRequest) -> None:
    """The last tests of the profile: they end it, the callers before whom they call."""
    process: Started = request.getfixturevalue(role)
    code, seconds = process.end()
    assert code == 0, f"{code} after {seconds:.1f} s of {process.container.grace:g}\n{process.tail()}"


def test_every_container_of_the_profile_was_started(kind: Machine) -> None:
    pods = pods_of(kind.objects)
    assert {pod.component for pod in pods} == {"captioner", "ranker", "transformer", "items", "bootstrap", "test"}
    assert [pod.owner for pod in pods if len(pod.all_containers) != 1] == []


FRONT = {"sightline-ranker-transformer": {80: ("transformer", 8080), 8081: ("transformer", 8081)}}
"""The Service that KServe makes for a transformer: its first container port as port 80, the others as they are."""


@REDIS
def test_kserves_pods_start_with_our_image(demo: Path) -> None:
    with short_folder() as folder:
        machine = Machine(parse(render([PROFILE, FOLDER / "kserve-python.yaml"])), demo, folder, FRONT)
        with (
            started(container(machine, machine.pod("items"))),
            started(container(machine, machine.pod("ranker"))) as ranker,
            started(container(machine, machine.pod("transformer"))) as transformer,
        ):
            assert ranked(machine, demo)["contract_digest"] == digest(demo)
            assert transformer.end()[0] == 0
            assert ranker.end()[0] == 0


def test_the_init_container_brings_tritons_repository(demo: Path) -> None:
    """NVIDIA's image itself is not here; what it is given is."""
    with short_folder() as folder:
        machine = Machine(parse(render([PROFILE, FOLDER / "kserve.yaml"])), demo, folder, FRONT)
        pod = machine.pod("ranker")
        (init,) = pod.spec["initContainers"]
        given = container(machine, pod, init["name"])
        done = run(given)
        assert done.returncode == 0, done.stderr
        repository = given.mounted("/mnt/models")
        config = (repository / "ranker" / "config.pbtxt").read_text()
        assert 'platform: "onnxruntime_onnx"' in config
        assert digest(demo) in config
        assert (repository / "ranker" / "1" / "model.onnx").is_file()
        (triton,) = pod.containers
        assert triton["command"][-1] == "tritonserver"
        assert "--model-repository=/mnt/models" in triton["args"]
        mounts = {mount["mountPath"]: mount["name"] for mount in triton["volumeMounts"]}
        assert mounts["/mnt/models"] == next(m["name"] for m in init["volumeMounts"] if m["mountPath"] == "/mnt/models")


SERVE = """
import json, sys
from ray.serve.schema import ServeDeploySchema
from serving.captioner.app import BatchConfig, build
config = ServeDeploySchema.model_validate(json.load(sys.stdin))
(application,) = config.applications
ingress = build(application.args)
for deployment in application.deployments:
    BatchConfig.model_validate(deployment.user_config)
print(json.dumps({
    "import_path": application.import_path,
    "route_prefix": application.route_prefix,
    "port": config.http_options.port,
    "deployments": [each.name for each in application.deployments],
    "ingress": ingress._bound_deployment.name,
}))
"""
"""Ray's own schema reads the config, and our builder the arguments. In a process of its own: Ray is imported once."""


def served(config: Any) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-c", SERVE]
    return subprocess.run(command, input=json.dumps(config), capture_output=True, text=True, timeout=100, check=False)


def serve_config(name: str) -> Any:
    (service,) = [each for each in parse(render([FOLDER / f"{name}.yaml"])) if each["kind"] == "RayService"]
    return yaml.safe_load(service["spec"]["serveConfigV2"])


@pytest.mark.parametrize("name", ["rayservice", "rayservice-gpu", "rayservice-incremental", "tls-operators"])
def test_ray_serve_takes_the_rayservices_config_and_builds_its_application(name: str) -> None:
    """Building reads the settings as a cluster would, and loads nothing: replicas load."""
    done = served(serve_config(name))
    assert done.returncode == 0, done.stderr[-3000:]
    assert json.loads(done.stdout.splitlines()[-1]) == {
        "import_path": "serving.captioner.app:build",
        "route_prefix": "/",
        "port": 8000,
        "deployments": ["CaptionModel"],
        "ingress": "CaptionIngress",
    }


def test_a_setting_that_the_captioner_does_not_know_is_refused_by_building() -> None:
    config = serve_config("rayservice")
    config["applications"][0]["args"]["preset_name"] = "tiny"
    done = served(config)
    assert done.returncode != 0
    assert "preset_name" in done.stderr


def by_hand(name: str) -> Pod:
    """The pod of a Job that people create from manifests/jobs."""
    objects = parse((ROOT / "manifests" / "jobs" / f"{name}.yaml").read_text())
    (job,) = (each for each in objects if each["kind"] == "Job")  # beside the claim that keeps its work
    (pod,) = pods_of([job | {"metadata": job["metadata"] | {"name": job["metadata"]["generateName"]}}])
    return pod


@pytest.mark.parametrize("name", ["train", "lift", "publish"])
def test_the_jobs_of_manifests_run_as_they_are(name: str, kind: Machine) -> None:
    given = container(kind, by_hand(name))
    done = run(given, timeout=380)
    assert done.returncode == 0, done.stdout + done.stderr[-3000:]
    assert f"{name} done" in done.stdout
    published = sorted(
        str(path.parent.relative_to(given.mounted("/volume"))) for path in given.folder.rglob("entry.json")
    )
    expected = {"train": ["models/ranker-ids/1", "models/ranker/1"], "publish": ["models/ranker/1"], "lift": []}
    assert published == expected[name]
