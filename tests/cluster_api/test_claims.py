"""Persistence that is switched on, off or enlarged in a living release: refused with the steps that do it, which do."""

from __future__ import annotations

import re
import subprocess

import pytest

from charts.tooling.programs import helm
from charts.tooling.values import CHART
from tests.cluster_api.conftest import ApiServer

ITEMS = "items.redis.bundled.persistence"
COLLECTOR = "experiments.collector.persistence"
NAMESPACE = "claims"


def upgrade(server: ApiServer, *settings: str) -> subprocess.CompletedProcess[str]:
    """`helm upgrade --install` of a release without pods to wait for."""
    command = [str(helm()), "upgrade", "--install", "sightline", str(CHART), "--kubeconfig", server.kubeconfig]
    command += ["--namespace", NAMESPACE, "--create-namespace", "--set", "experiments.enabled=true"]
    command += [word for setting in settings for word in ("--set", setting)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def commands(said: str) -> list[str]:
    """What a refusal says to run."""
    return re.findall(r"\((kubectl .*?)(?:, where the StorageClass allows it)?\)", said)


@pytest.fixture(scope="module")
def server(api_server: ApiServer) -> ApiServer:
    first = upgrade(api_server)
    assert first.returncode == 0, first.stderr
    return api_server


@pytest.mark.timeout(600)
@pytest.mark.parametrize(("path", "component"), [(ITEMS, "items"), (COLLECTOR, "collector")])
def test_a_claim_that_comes_grows_and_goes_does_so_by_the_commands_that_are_printed(
    server: ApiServer, path: str, component: str
) -> None:
    name = f"sightline-{component}"
    steps = [
        ((f"{path}.enabled=true",), f"- {path}.enabled: {name} runs without a claim"),
        ((f"{path}.enabled=true", f"{path}.size=77Gi"), f"- {path}.size: {name} has a claim of"),
        ((), f"- {path}.enabled: {name} keeps its data on a claim of 77Gi"),
    ]
    assert upgrade(server).returncode == 0, "nothing changes"
    for settings, said in steps:
        refused = upgrade(server, *settings)
        assert refused.returncode != 0
        assert said in refused.stderr
        printed = commands(refused.stderr)
        assert printed
        for command in printed:
            if "patch" in command:
                continue  # no controller here makes claims
            done = server.kubectl(*command.split()[1:])
            assert done.returncode == 0, done.stderr
        again = upgrade(server, *settings)
        assert again.returncode == 0, again.stderr
        assert upgrade(server, *settings).returncode == 0, "and a second time"


def test_a_size_in_another_spelling_is_the_same_size(server: ApiServer) -> None:
    server.kubectl("--namespace", NAMESPACE, "delete", "statefulset", "sightline-items", "--cascade=orphan")
    assert upgrade(server, f"{ITEMS}.enabled=true", f"{ITEMS}.size=1024Mi").returncode == 0
    again = upgrade(server, f"{ITEMS}.enabled=true", f"{ITEMS}.size=1024Mi")
    assert again.returncode == 0, again.stderr
    class_changed = upgrade(server, f"{ITEMS}.enabled=true", f"{ITEMS}.size=1024Mi", f"{ITEMS}.storageClass=fast")
    assert f"- {ITEMS}.storageClass: sightline-items has a claim of the class" in class_changed.stderr
