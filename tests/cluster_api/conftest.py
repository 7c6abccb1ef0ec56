"""A real Kubernetes API server, where this machine can start one: admission, definitions and their rules, no pods.

Kubernetes' own controllers run, and KServe's and KubeRay's with their webhooks.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

START = Path(os.environ.get("SIGHTLINE_KUBE_START", Path(__file__).parents[3] / "shared" / "kube" / "up"))


@dataclass(frozen=True)
class ApiServer:
    """`kubectl` against it."""

    kubeconfig: str

    def kubectl(self, *words: str, given: str = "") -> subprocess.CompletedProcess[str]:
        from charts.tooling.programs import kubectl

        command = [str(kubectl()), "--kubeconfig", self.kubeconfig, *words]
        return subprocess.run(command, input=given, capture_output=True, text=True, timeout=120, check=False)


@pytest.fixture(scope="session")
def api_server() -> Iterator[ApiServer]:
    if not START.is_file() or os.geteuid() != 0:
        pytest.skip("needs a program that starts an API server, and root: SIGHTLINE_KUBE_START=path")
    name, number = f"tests-{os.getpid()}", str(200 + os.getpid() % 30)
    begun = subprocess.run(
        [str(START), "--api-only", "--operators", "--name", name, "--subnet", number],
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    try:
        found = [line for line in begun.stdout.splitlines() if line.startswith("KUBECONFIG=")]
        assert found, begun.stderr
        yield ApiServer(found[0].removeprefix("KUBECONFIG="))
    finally:
        subprocess.run([str(START.with_name("down")), "--name", name], capture_output=True, timeout=120, check=False)
