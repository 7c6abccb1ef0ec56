"""The chart under the real controllers of KServe and KubeRay, on an API server without nodes: what they make of it."""

from __future__ import annotations

import json
import subprocess
import time
from typing import Any

import pytest

from charts.tooling.programs import helm
from charts.tooling.values import CHART
from tests.cluster_api.conftest import ApiServer

OPERATORS = ("ranker.mode=inferenceservice", "captioner.mode=rayservice")
PYTHON = "ranker.inferenceService.runtime=python"
COLLOCATED = "ranker.inferenceService.transformer=collocated"
pytestmark = pytest.mark.timeout(600)


def upgrade(server: ApiServer, namespace: str, *settings: str) -> subprocess.CompletedProcess[str]:
    command = [str(helm()), "upgrade", "--install", "sightline", str(CHART), "--kubeconfig", server.kubeconfig]
    command += ["--namespace", namespace, "--create-namespace"]
    command += [word for setting in settings for word in ("--set", setting)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def uninstall(server: ApiServer, namespace: str) -> None:
    command = [str(helm()), "uninstall", "sightline", "--namespace", namespace, "--kubeconfig", server.kubeconfig]
    subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)


def deployment(server: ApiServer, namespace: str, name: str) -> dict[str, Any]:
    """What a controller makes, once it is there."""
    for _ in range(120):
        found = server.kubectl("--namespace", namespace, "get", "deployment", name, "--output", "json")
        if found.returncode == 0:
            return dict(json.loads(found.stdout))
        time.sleep(0.5)
    raise AssertionError(found.stderr)


@pytest.mark.parametrize("settings", [(PYTHON,), (), (COLLOCATED, PYTHON)], ids=["python", "triton", "collocated"])
def test_kserve_runs_our_pod_and_adds_no_container(api_server: ApiServer, settings: tuple[str, ...]) -> None:
    """A `model` without a storageUri is one of many to KServe, which then adds an agent that is never ready."""
    namespace = "custom-" + ("-".join(each.rpartition("=")[2] for each in settings) or "triton")
    done = upgrade(api_server, namespace, *OPERATORS, *settings)
    assert done.returncode == 0, done.stderr
    assert "warning" not in done.stderr.lower()
    made = deployment(api_server, namespace, "sightline-ranker-predictor")["spec"]["template"]["spec"]
    names = [each["name"] for each in made["containers"]]
    assert names == ["kserve-container", *(["transformer-container"] if COLLOCATED in settings else [])]
    (triton,) = [each for each in made["containers"] if each["name"] == "kserve-container"]
    assert triton["resources"]["limits"]["cpu"] == "4", "the chart's, not KServe's own"
    assert {mount["name"] for mount in triton["volumeMounts"]} <= {volume["name"] for volume in made["volumes"]}
    if COLLOCATED not in settings:
        transformer = deployment(api_server, namespace, "sightline-ranker-transformer")["spec"]["template"]["spec"]
        assert [each["name"] for each in transformer["containers"]] == ["kserve-container"]
    uninstall(api_server, namespace)


def test_upgrades_follow_one_another_whatever_the_operators_fill_in(api_server: ApiServer) -> None:
    """KubeRay writes defaults into workerGroupSpecs; with Helm 4 every second upgrade was refused for them."""
    for number in range(4):
        done = upgrade(api_server, "again", *OPERATORS, PYTHON, f"global.pod.annotations.number=n{number // 2}")
        assert done.returncode == 0, done.stderr
        deployment(api_server, "again", "sightline-ranker-predictor")
        wait_for_cluster(api_server, "again")
    uninstall(api_server, "again")


def wait_for_cluster(server: ApiServer, namespace: str) -> None:
    """Until KubeRay has looked at the RayService."""
    for _ in range(120):
        found = server.kubectl("--namespace", namespace, "get", "rayclusters", "--output", "name")
        if found.stdout.strip():
            return
        time.sleep(0.5)
    raise AssertionError("KubeRay made no RayCluster")


def test_a_second_release_finds_the_definition_and_leaves_it_alone(api_server: ApiServer) -> None:
    api_server.kubectl("delete", "customresourcedefinition", "experiments.sightline.dev", "--ignore-not-found")
    switched_on = "experiments.enabled=true"
    assert upgrade(api_server, "first", switched_on).returncode == 0
    second = upgrade(api_server, "second", switched_on)
    assert second.returncode == 0, second.stderr
    assert "is in the cluster already, of the release sightline in the namespace first" in second.stdout
    for namespace in ("second", "first", "second"):
        assert upgrade(api_server, namespace, switched_on).returncode == 0
    uninstall(api_server, "first")
    kept = api_server.kubectl("get", "customresourcedefinition", "experiments.sightline.dev", "--output", "name")
    assert kept.returncode == 0, "with it all experiments would go"
    uninstall(api_server, "second")
    third = upgrade(api_server, "third", switched_on)
    assert third.returncode == 0, third.stderr
    uninstall(api_server, "third")
