"""The parts of the cluster tests that need no cluster: the load generator, what it counts, manifests, readings."""

import http.server
import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import e2e_objects as objects
import kubernetes_validate
import pytest
import yaml
from e2e_cluster import Cluster, ClusterError, local_address, until
from e2e_load import RefusedError, Tally

from serving.rollout.experiment.spec import ExperimentSpec


def test_a_tally_counts_rankings_degraded_ones_and_failures_by_kind() -> None:
    now = iter([0.0, 0.010, 1.0, 5.0, 5.020, 6.0, 7.0])
    tally = Tally()
    tally.count(lambda: False, lambda: next(now))

    def refused() -> bool:
        raise RefusedError("503 b'busy'")

    tally.count(refused, lambda: next(now))
    tally.count(lambda: True, lambda: next(now))
    told = tally.report()
    assert (told["ranked"], told["degraded"], told["failed"]) == (2, 1, 1)
    assert told["failures"] == {"RefusedError: 503 b'busy'": 1}
    assert told["longest_gap_s"] == pytest.approx(5.01)
    assert told["p50_ms"] == pytest.approx(10.0)


def report(ranked: int = 50, failed: int = 0, stopped: bool = True) -> dict[str, Any]:
    told = {"ranked": ranked, "failed": failed, "failures": {"ConnectionRefusedError": failed} if failed else {}}
    return {"stopped": stopped, "ways": {"http": told}}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (report(failed=1), "http: 1 of 51 failed: {'ConnectionRefusedError': 1}"),
        (report(ranked=3), "http: only 3 requests were made, expected at least 20"),
        (report(stopped=False), "the load ended before it was told to"),
    ],
)
def test_a_loss_is_a_failure_too_few_requests_or_an_early_end(given: dict[str, Any], said: str) -> None:
    assert objects.lost(report(), fewest=20) == []
    (found,) = objects.lost(given, fewest=20)
    assert found.startswith(said)


class Flaky(http.server.BaseHTTPRequestHandler):
    """A ranking service that refuses every fifth request and hangs up on every seventh."""

    seen = 0

    def do_POST(self) -> None:
        Flaky.seen += 1
        self.rfile.read(int(self.headers["Content-Length"]))
        if Flaky.seen % 7 == 0:
            return
        prediction = {"degraded": ["item_store_unavailable"], "ranking": [{}, {}]}
        body = json.dumps({"predictions": [prediction]}).encode()
        self.send_response(503 if Flaky.seen % 5 == 0 else 200)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture
def flaky() -> Iterator[str]:
    with http.server.HTTPServer(("127.0.0.1", 0), Flaky) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_the_load_program_runs_until_its_file_appears_and_misses_no_failure(flaky: str, tmp_path: Path) -> None:
    stop = tmp_path / "stop"
    manifests = objects.load("image:1", flaky, None, "1", ("1", "2"), 60)
    program = tmp_path / "load.py"
    program.write_text(manifests[0]["data"]["e2e_load.py"])
    arguments = manifests[1]["spec"]["containers"][0]["command"][2:]
    given = [str(stop) if word == objects.STOP_FILE else word for word in arguments]
    command = [sys.executable, str(program), *given, "--pause", "0.01"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        time.sleep(1.5)
        stop.touch()
        printed, _ = process.communicate(timeout=30)
    told = objects.last_json(printed)
    assert told["stopped"] is True
    ways = told["ways"]["http"]
    assert ways["ranked"] + ways["failed"] == Flaky.seen
    assert ways["degraded"] == ways["ranked"]
    hung_up, refused = Flaky.seen // 7, Flaky.seen // 5 - Flaky.seen // 35
    assert ways["failed"] == hung_up + refused
    assert objects.lost(told, fewest=1)[0].startswith(f"http: {hung_up + refused} of {Flaky.seen} failed")


def test_the_load_program_ends_by_itself(flaky: str, tmp_path: Path) -> None:
    command = [sys.executable, str(objects.SCRIPT), "--url", flaky, "--user", "1", "--items", "1,2"]
    command += ["--seconds", "0.3", "--stop-file", str(tmp_path / "never"), "--pause", "0.01"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
    told = objects.last_json("a line of a library\n" + done.stdout)
    assert told["stopped"] is False
    assert told["ended"] - told["begun"] < 10


@pytest.mark.parametrize("version", ["1.29", "1.36"])
def test_manifests_are_valid(version: str) -> None:
    made = [objects.namespace("x"), *objects.load("image:1", "http://x:8080", "x:8081", "1", ("1",), 600)]
    for manifest in made:
        kubernetes_validate.validate(manifest, version, strict=True)


def test_the_attacks_pod_has_no_account_and_every_address() -> None:
    config, pod = objects.attacks("image:1", {"items": ["10.0.0.1", "10.0.0.2"], "ranker": ["10.0.0.3"]}, "u", "i")
    assert pod["spec"]["automountServiceAccountToken"] is False
    command = pod["spec"]["containers"][0]["command"]
    assert command[2:] == [
        *("--user", "u", "--item", "i"),
        *("--items", "10.0.0.1", "--items", "10.0.0.2"),
        *("--ranker", "10.0.0.3"),
    ]
    compile(config["data"]["e2e_attacks.py"], "e2e_attacks.py", "exec")


def test_the_load_pod_is_restricted_and_bounded() -> None:
    _, pod = objects.load("image:1", "http://x:8080", None, "1", ("1",), 600)
    assert pod["spec"]["activeDeadlineSeconds"] == 900
    assert pod["spec"]["securityContext"]["runAsNonRoot"] is True
    assert "--grpc" not in pod["spec"]["containers"][0]["command"]


def pod(name: str, component: str, owner: str = "ReplicaSet", **meta: Any) -> dict[str, Any]:
    labels = {"app.kubernetes.io/component": component, "app.kubernetes.io/instance": "sightline"}
    owners = [{"kind": owner}] if owner else []
    return {
        "kind": "Pod",
        "metadata": {"name": name, "uid": name, "labels": labels, "ownerReferences": owners, **meta},
        "status": {"conditions": [{"type": "Ready", "status": "True"}]},
    }


def test_pods_that_leave_and_pods_of_jobs_are_not_counted() -> None:
    leaving = pod("b", "ranker", deletionTimestamp="2026-11-24T00:00:00Z")
    pods = [pod("a", "ranker"), leaving, pod("c", "bootstrap", "Job"), pod("d", "test", "")]
    assert objects.uids(pods) == {"ranker": {"a"}}
    assert objects.ready(pods[0])
    assert not objects.ready(leaving)
    assert not objects.ready({"metadata": {}, "status": {"conditions": [{"type": "Ready", "status": "False"}]}})


def test_leftovers_are_the_releases_objects_that_nothing_announces() -> None:
    kept = pod("kept", "items", annotations={"helm.sh/resource-policy": "keep"})
    tested = pod("tested", "test", annotations={"helm.sh/hook": "test"})
    foreign = pod("foreign", "ranker", labels={})
    assert objects.leftovers([kept, tested, foreign], "sightline") == []
    assert objects.leftovers([pod("lost", "ranker")], "sightline") == ["Pod lost"]


def test_a_job_and_its_message_are_read() -> None:
    assert objects.finished({"status": {}}) is None
    assert objects.finished({"status": {"conditions": [{"type": "FailureTarget", "status": "True"}]}}) is None
    assert objects.finished({"status": {"conditions": [{"type": "Failed", "status": "True"}]}}) == "Failed"
    running = {"status": {"containerStatuses": [{"state": {"running": {}}}]}}
    creating = {"status": {"containerStatuses": [{"state": {"waiting": {"reason": "ContainerCreating"}}}]}}
    assert [objects.begun([each]) for each in ({}, creating, running)] == [False, False, True]
    ended = {"status": {"containerStatuses": [{"state": {"terminated": {"message": "{}"}}}]}}
    assert objects.termination_messages([running, ended]) == ["{}"]


def test_the_training_job_of_manifests_is_made_to_fit_a_small_node() -> None:
    claim, job = yaml.safe_load_all((objects.SCRIPT.parents[2] / "manifests" / "jobs" / "train.yaml").read_text())
    assert claim["kind"] == "PersistentVolumeClaim"
    (here,) = objects.modest(job, "")["spec"]["template"]["spec"]["containers"]
    assert here["resources"]["requests"] == {"cpu": "100m", "memory": "512Mi"}
    assert here["resources"]["limits"] == job["spec"]["template"]["spec"]["containers"][0]["resources"]["limits"]
    (mirrored,) = objects.modest(job, "registry.example.com/mirror/")["spec"]["template"]["spec"]["containers"]
    assert mirrored["image"] == f"registry.example.com/mirror/{here['image']}"
    kubernetes_validate.validate(objects.modest(job, ""), "1.36", strict=True)


def test_the_experiment_is_one_that_the_controller_takes() -> None:
    made = objects.experiment("e2e", "sightline", "/opt/sightline/demo/bundles/ranker-ids")
    spec = ExperimentSpec.model_validate(made["spec"])
    assert (spec.target.transformer, spec.guardrails) == ("sightline-transformer", ())


def test_waiting_ends_in_time_and_says_what_for() -> None:
    now = [0.0]

    def sleep(seconds: float) -> None:
        now[0] += seconds

    with pytest.raises(ClusterError, match="the store is back at 6: not so after 5 s"):
        until(lambda: f"the store is back at {now[0]:g}", lambda: False, 5, clock=lambda: now[0], sleep=sleep)
    until("it is late", lambda: now[0] > 7, 5, clock=lambda: now[0], sleep=sleep)


@pytest.fixture
def scripted(tmp_path: Path) -> Cluster:
    """A cluster whose kubectl and helm are a script that says what it was asked, on both streams."""
    program = tmp_path / "kubectl"
    program.write_text(
        "#!/bin/sh\n"
        'case "$*" in\n'
        "  *broken*) echo 'the server is away' >&2; exit 3;;\n"
        "  *port-forward*) echo 'Forwarding from 127.0.0.1:40123 -> 8080'; exec sleep 60;;\n"
        "  *customresourcedefinitions*) echo customresourcedefinition.apiextensions.k8s.io/rayservices.ray.io;;\n"
        "  *json*) echo '{\"items\": []}';;\n"
        '  *) echo "$*"; echo "W: careful" >&2;;\n'
        "esac\n"
    )
    program.chmod(0o755)
    return Cluster(tmp_path / "config", "default", program, program).within("tests")


def test_commands_get_the_kubeconfig_and_the_namespace(scripted: Cluster) -> None:
    assert scripted.kubectl("get", "pods") == f"--kubeconfig {scripted.kubeconfig} --namespace tests get pods\n"
    assert scripted.helm("list").endswith("list\nW: careful\n")
    assert scripted.get("pods") == {"items": []}
    assert scripted.serves("rayservices.ray.io")
    assert not scripted.serves("rayservices.ray.io", "inferenceservices.serving.kserve.io")


def test_a_failed_command_says_what_it_was_and_why(scripted: Cluster) -> None:
    with pytest.raises(ClusterError, match=r"kubectl get broken: exit 3\nthe server is away"):
        scripted.kubectl("get", "broken")
    assert "$ kubectl get pods --output wide" in scripted.story()


def test_a_forwarded_port_is_read_and_its_process_ended(scripted: Cluster) -> None:
    with scripted.forwarded("service/x", 8080) as address:
        assert address == "127.0.0.1:40123"
    refused = subprocess.Popen(["echo", "error: no such service"], stdout=subprocess.PIPE, text=True)
    with refused, pytest.raises(ClusterError, match="no such service"):
        local_address(refused)


def test_the_cluster_tests_are_collected_and_skipped_with_a_line_each(pytestconfig: pytest.Config) -> None:
    if pytestconfig.getoption("--kubeconfig") is not None:
        pytest.skip("they run: a cluster was given")
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        str(Path(__file__).parent),
        "-m",
        "cluster",
    ]
    told = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False).stdout
    assert "needs a cluster: make e2e KUBECONFIG=path" in told
    assert told.count("SKIPPED") == 3, "a line for each file"
    assert " 14 skipped" in told or told.splitlines()[-1].startswith("14 skipped"), told
