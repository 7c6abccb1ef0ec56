"""The chart on a real cluster, from `helm install` to `helm uninstall`. The tests build on one another, in this order.

The cluster may be bare: no metrics server, no LoadBalancer, no StorageClass, one slow node.
"""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import e2e_objects as objects
import pytest
import yaml
from e2e_cluster import Cluster, until

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(3600)]

ROOT = Path(__file__).parents[2]
SAMPLES = ROOT / "manifests" / "samples"
ROLLING = ("captioner", "transformer", "ranker")


def rolled(release: Any, value: str) -> None:
    """New pods of every role but the item store, whose rows would go with its pod."""
    release.upgrade(*(f"{role}.pod.annotations.e2e={value}" for role in ROLLING))


def test_the_install_is_ready_in_a_restricted_namespace(installed: Any, cluster: Cluster) -> None:
    release, printed = installed
    assert "would violate PodSecurity" not in printed
    stay = [pod for pod in release.pods() if "deletionTimestamp" not in pod["metadata"]]  # others are being replaced
    serving = [pod for pod in stay if pod["metadata"]["labels"].get("batch.kubernetes.io/job-name") is None]
    assert {pod["metadata"]["labels"]["app.kubernetes.io/component"] for pod in serving} == {*ROLLING, "items"}
    assert [pod["metadata"]["name"] for pod in serving if not objects.ready(pod)] == []


def test_nothing_waits_for_what_a_bare_cluster_lacks(release: Any, cluster: Cluster) -> None:
    services = cluster.get("services")["items"]
    assert services
    assert {service["spec"]["type"] for service in services} == {"ClusterIP"}
    claims = cluster.get("persistentvolumeclaims")["items"]
    assert [claim["metadata"]["name"] for claim in claims if claim["status"]["phase"] != "Bound"] == []


def test_helm_test_passes_and_prints_what_it_saw(release: Any, cluster: Cluster) -> None:
    printed = cluster.helm("test", release.name, "--logs", "--timeout", "20m")
    assert "everything that was looked at is well" in printed


def test_the_first_request_goes_through_a_forwarded_port(release: Any, cluster: Cluster) -> None:
    with cluster.forwarded(f"service/{release.name}-transformer", 8080) as address:
        command = [str(SAMPLES / "rank.sh"), f"http://{address}"]
        answer = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert answer.returncode == 0, answer.stderr
    ranking = json.loads(answer.stdout.splitlines()[0])["predictions"][0]["ranking"]
    assert {entry["item_id"]: entry["caption"] for entry in ranking} == {
        "i0001": "known",
        "i0002": "known",
        "i0003": "known",
        "brand-new": "inline",
    }


def test_no_request_is_lost_during_an_upgrade_and_a_rollback(release: Any, cluster: Cluster) -> None:
    before = objects.uids(release.pods())
    with release.under_load() as reports:
        rolled(release, "upgraded")
        upgraded = objects.uids(release.pods())
        cluster.helm("rollback", release.name, "--wait", "--timeout", "20m")
        back = objects.uids(release.pods())
    assert objects.lost(reports[0], fewest=100) == []
    for role in ROLLING:
        assert len({frozenset(pods[role]) for pods in (before, upgraded, back)}) == 3, f"{role} was not rolled twice"
    assert before["items"] == back["items"]


def test_no_request_is_lost_when_pods_are_deleted(release: Any, cluster: Cluster) -> None:
    release.upgrade("transformer.replicas=2", "ranker.replicas=2")
    with release.under_load() as reports:
        for role in ("transformer", "ranker"):
            pods = of_role(release, role)
            assert len(pods) == 2
            cluster.kubectl("delete", "pod", pods[0]["metadata"]["name"], "--wait=false")
            gone = pods[0]["metadata"]["uid"]
            until(f"{role} is whole again", lambda role=role, gone=gone: whole(of_role(release, role), gone), 900)
    assert objects.lost(reports[0], fewest=50) == []


def of_role(release: Any, role: str) -> list[dict[str, Any]]:
    return [pod for pod in release.pods() if pod["metadata"]["labels"]["app.kubernetes.io/component"] == role]


def whole(pods: list[dict[str, Any]], gone: str) -> bool:
    """Whether two pods serve and the deleted one is no longer there."""
    return sum(map(objects.ready, pods)) == 2 and gone not in {pod["metadata"]["uid"] for pod in pods}


def submitted(cluster: Cluster, kind: str, registry: str, folder: Path, *options: str) -> str:
    """A Job of manifests/jobs, made by `sightline job submit` with its claim; its name."""
    claim, job = yaml.safe_load_all((ROOT / "manifests" / "jobs" / f"{kind}.yaml").read_text())
    file = folder / f"{kind}.yaml"
    file.write_text(yaml.safe_dump_all([claim, objects.modest(job, registry)]))
    command = [str(Path(sys.executable).with_name("sightline")), "--json", "job", "submit", str(file)]
    command += ["--namespace", cluster.namespace, *(word for option in options for word in ("--set", option))]
    environment = {**os.environ, "KUBECONFIG": str(cluster.kubeconfig)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return str(json.loads(done.stdout)[-1]["name"])


def pods_of_job(cluster: Cluster, name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = cluster.get("pods", "--selector", f"batch.kubernetes.io/job-name={name}")["items"]
    return found


def last_words(cluster: Cluster, name: str) -> dict[str, Any]:
    """What a Job told when it was done."""
    until(f"{name} has ended", lambda: objects.finished(cluster.get("job", name)) is not None, 1800, pause=5)
    pods = pods_of_job(cluster, name)
    assert objects.finished(cluster.get("job", name)) == "Complete", objects.termination_messages(pods)
    told = [json.loads(message) for message in objects.termination_messages(pods)]
    (done,) = [message for message in told if message["outcome"] == "done"]
    return dict(done)


@pytest.fixture
def no_jobs_left(cluster: Cluster) -> Iterator[None]:
    """Removes the Jobs and their claim, however the test ends: an uninstall leaves what it did not make."""
    yield
    cluster.kubectl("delete", "jobs", "--selector", "app.kubernetes.io/component in (train, publish)", "--wait")
    cluster.kubectl("delete", "persistentvolumeclaim", "sightline-jobs", "--ignore-not-found", "--wait")


def test_a_training_pod_that_is_lost_goes_on_and_its_bundle_outlives_it(
    release: Any, cluster: Cluster, no_jobs_left: None, pytestconfig: pytest.Config, tmp_path: Path
) -> None:
    registry = pytestconfig.getoption("--image-registry")
    name = submitted(cluster, "train", registry, tmp_path, "checkpoint-seconds=1", "workers=1")
    log = lambda: cluster.kubectl("logs", f"job/{name}")  # noqa: E731
    until("its container has started", lambda: objects.begun(pods_of_job(cluster, name)), 300)
    until("a run is done", lambda: re.search(r" [1-9]\.\d\d of \d+ training runs done", log()), 900, pause=2)
    (first,) = pods_of_job(cluster, name)
    cluster.kubectl("delete", "pod", first["metadata"]["name"], "--wait=false")
    done = last_words(cluster, name)
    assert done["job"] == "train"
    assert done["contract_digest"].startswith("sha256:")
    begun = re.search(r" (\d+\.\d\d) of \d+ training runs done", log())
    claims = cluster.get("persistentvolumeclaims")["items"]
    if [claim for claim in claims if claim["metadata"]["name"] == "sightline-jobs"]:
        assert begun
        assert float(begun[1]) >= 1, "what the first pod had trained was trained again"
        assert "warnings" not in done
        cluster.kubectl("delete", "job", name, "--wait")
        bundle = done["bundles"]["ranker"]
        copy = submitted(cluster, "publish", registry, tmp_path, f"bundle={bundle}", "out-store=/volume/copies")
        assert last_words(cluster, copy)["contract_digest"] == done["contract_digest"]
    else:
        assert any("goes with this pod" in warning for warning in done["warnings"])


def test_a_changed_configuration_rolls_its_pods_and_no_others(release: Any, cluster: Cluster) -> None:
    release.upgrade()
    before = objects.uids(release.pods())
    release.upgrade("transformer.settings.max_candidates=900")
    until("the old pods are gone", lambda: len(objects.uids(release.pods())["transformer"]) == 1, 300)
    after = objects.uids(release.pods())
    assert after.pop("transformer").isdisjoint(before.pop("transformer"))
    assert after == before
    release.upgrade("transformer.settings.max_candidates=900", "items.redis.bundled.maxMemory=160mb")
    last = objects.uids(release.pods())
    assert last["items"].isdisjoint(after["items"]), "its ConfigMap changed"
    assert {role: last[role] for role in ("captioner", "ranker")} == {r: after[r] for r in ("captioner", "ranker")}


def test_a_lost_item_store_degrades_rankings_and_fails_none(release: Any, cluster: Cluster) -> None:
    with release.under_load() as reports:
        cluster.kubectl("delete", "pod", f"{release.name}-items-0", "--wait", timeout=300)
        until("the store is back", lambda: objects.ready(cluster.get("pod", f"{release.name}-items-0")), 600)
    assert objects.lost(reports[0], fewest=20) == []


def test_an_uninstall_leaves_what_it_says(release: Any, cluster: Cluster) -> None:
    cluster.helm("uninstall", release.name, "--wait", "--timeout", "20m")
    kinds = cluster.kubectl("api-resources", "--verbs", "list", "--namespaced", "--output", "name").split()
    listed = ",".join(kind for kind in kinds if not kind.startswith("events"))
    selector = f"app.kubernetes.io/instance={release.name}"

    def left() -> list[str]:
        return objects.leftovers(cluster.get(listed, "--selector", selector)["items"], release.name)

    until(lambda: f"the release's objects are gone; there are {left()}", lambda: left() == [], 300)


def test_kserve_and_kuberay_run_the_same(operators: Any) -> None:
    cluster = operators.cluster
    conditions = (("Ready", "inferenceservice"), ("TransformerReady", "inferenceservice"), ("Ready", "rayservice"))
    for condition, kind in conditions:  # without an ingress KServe's Ready leaves the transformer out
        cluster.kubectl("wait", f"--for=condition={condition}", kind, "--all", "--timeout=20m", timeout=1300)
    printed = cluster.helm("test", operators.name, "--logs", "--timeout", "20m")
    assert "everything that was looked at is well" in printed
