"""Who counts the pods: an upgrade keeps what an autoscaler wrote, before, while and after it comes."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

import pytest

from charts.tooling.programs import helm
from charts.tooling.values import CHART
from tests.cluster_api.conftest import ApiServer

NAMESPACE = "replicas"
ROLES = {"ranker": "ranker", "transformer": "transformer", "captioner": "captioner.deployment"}


@pytest.fixture(scope="module")
def server(api_server: ApiServer) -> Iterator[ApiServer]:
    yield api_server
    command = [str(helm()), "uninstall", "sightline", "--namespace", NAMESPACE, "--kubeconfig", api_server.kubeconfig]
    subprocess.run(command, capture_output=True, timeout=120, check=False)


def upgraded(server: ApiServer, *settings: str, force: str = "") -> dict[str, int]:
    """Replicas by role, after an upgrade with these values. `force` takes fields back that somebody else owns."""
    command = [str(helm()), "upgrade", "--install", "sightline", str(CHART), "--kubeconfig", server.kubeconfig]
    command += ["--namespace", NAMESPACE, "--create-namespace", *filter(None, [force])]
    command += [word for setting in settings for word in ("--set", setting)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return {role: living(server, role) for role in ROLES}


def living(server: ApiServer, role: str) -> int:
    found = server.kubectl(
        *("--namespace", NAMESPACE, "get", "deployment", f"sightline-{role}", "--output", "jsonpath={.spec.replicas}")
    )
    assert found.returncode == 0, found.stderr
    return int(found.stdout)


def scale(server: ApiServer, count: int, *roles: str) -> None:
    """What an autoscaler does."""
    for role in roles:
        done = server.kubectl(
            *("--namespace", NAMESPACE, "scale", f"deployment/sightline-{role}", f"--replicas={count}")
        )
        assert done.returncode == 0, done.stderr


@pytest.mark.timeout(600)
def test_an_autoscaler_that_comes_to_a_living_release_keeps_its_pods(server: ApiServer) -> None:
    four = [f"{path}.replicas=4" for path in ROLES.values()]
    assert upgraded(server, *four) == dict.fromkeys(ROLES, 4)
    for elsewhere in ("replicas=null", "autoscaling.enabled=true"):
        settings = [f"{path}.{elsewhere}" for path in ROLES.values()]
        assert upgraded(server, *settings) == dict.fromkeys(ROLES, 4), elsewhere
        scale(server, 3, *ROLES)
        assert upgraded(server, *settings) == dict.fromkeys(ROLES, 3), elsewhere
        assert upgraded(server, *settings) == dict.fromkeys(ROLES, 3), "a second time"
        scale(server, 4, *ROLES)
    scale(server, 0, "captioner")
    elsewhere_counted = [f"{path}.replicas=null" for path in ROLES.values()]
    assert upgraded(server, *elsewhere_counted)["captioner"] == 0, "scaled to zero"
    counted = [f"{path}.replicas=2" for path in ROLES.values()]
    assert upgraded(server, *counted, force="--force-conflicts") == dict.fromkeys(ROLES, 2), "the chart counts again"


@pytest.mark.timeout(600)
def test_a_first_installation_whose_pods_somebody_else_counts_begins_with_one(server: ApiServer) -> None:
    for role in ROLES:
        server.kubectl("--namespace", NAMESPACE, "delete", "deployment", f"sightline-{role}")
    assert upgraded(server, *(f"{path}.replicas=null" for path in ROLES.values())) == dict.fromkeys(ROLES, 1)
