"""One release for all cluster tests, in a namespace that enforces Pod Security `restricted`."""

import secrets
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

sys.path.insert(0, str(Path(__file__).parent))

import e2e_objects as objects
from e2e_cluster import Cluster, until

from charts.tooling.programs import helm, kubectl

ROOT = Path(__file__).parents[2]
CHART = ROOT / "charts" / "sightline"
ROLES = ("captioner", "transformer", "ranker", "trainer", "rollout", "items")
DEMO = ("u0001", ("i0001", "i0002", "i0003"))
"""A user and items of the demo's catalogue."""
SLOW = "20m"
"""What one helm command may take: images may have to be pulled, and the node may be slow."""


@dataclass(frozen=True)
class Release:
    """An installation, and how it is changed."""

    cluster: Cluster
    name: str
    values: tuple[str, ...]

    def install(self) -> str:
        """`helm install --wait`; what it printed."""
        return self._helm("install")

    def upgrade(self, *sets: str) -> str:
        """`helm upgrade --wait` with these values over the profile's."""
        return self._helm("upgrade", *(word for each in sets for word in ("--set", each)))

    def _helm(self, verb: str, *words: str) -> str:
        return self.cluster.helm(verb, self.name, str(CHART), *self.values, *words, "--wait", "--timeout", SLOW)

    def pods(self) -> list[dict[str, Any]]:
        """The pods of the release."""
        selector = f"app.kubernetes.io/instance={self.name}"
        found: list[dict[str, Any]] = self.cluster.get("pods", "--selector", selector)["items"]
        return found

    @contextmanager
    def under_load(self, seconds: float = 2700) -> Iterator[list[Any]]:
        """Requests from inside the cluster while the block runs; the list holds the report afterwards."""
        cluster, front = self.cluster, f"{self.name}-transformer"
        image = objects.image_of(cluster.get("deployment", front))
        manifests = objects.load(image, f"http://{front}:8080", f"{front}:8081", *DEMO, seconds)
        reports: list[Any] = []
        cluster.apply(*manifests)
        try:
            until("the load runs", lambda: objects.ready(cluster.get("pod", objects.LOAD)), 300)
            yield reports
            cluster.kubectl("exec", objects.LOAD, "--", "touch", objects.STOP_FILE)
            phase = lambda: cluster.get("pod", objects.LOAD)["status"]["phase"]  # noqa: E731
            until("the load has ended", lambda: phase() in ("Succeeded", "Failed"), 120)
            reports.append(objects.last_json(cluster.kubectl("logs", objects.LOAD)))
        finally:
            cluster.kubectl("delete", "pod", objects.LOAD, "--ignore-not-found", "--wait")


@pytest.fixture(scope="session")
def profile(pytestconfig: pytest.Config) -> tuple[str, ...]:
    """helm's arguments for a cluster without anything: the kind profile, and where the images are."""
    registry = pytestconfig.getoption("--image-registry")
    return ("--values", str(CHART / "values-kind.yaml"), "--set", f"global.imageRegistry={registry}")


@pytest.fixture(scope="session")
def base(pytestconfig: pytest.Config) -> Cluster:
    """The cluster; the images are on its nodes."""
    kubeconfig = pytestconfig.getoption("--kubeconfig")
    cluster = Cluster(kubeconfig.resolve(), "default", kubectl(), helm())
    if not (pytestconfig.getoption("--images-loaded") or pytestconfig.getoption("--image-registry")):
        load_into_kind(cluster.kubectl("config", "current-context").strip())
    return cluster


def load_into_kind(context: str) -> None:
    """Load the images of this version into a kind cluster."""
    if not context.startswith("kind-"):
        pytest.fail(f"context {context} is no kind cluster: give --images-loaded or --image-registry")
    version = yaml.safe_load((CHART / "Chart.yaml").read_text())["appVersion"]
    images = [f"sightline/{role}:{version}" for role in ROLES]
    subprocess.run(["kind", "load", "docker-image", "--name", context.removeprefix("kind-"), *images], check=True)


@contextmanager
def a_namespace(base: Cluster, name: str, keep: bool) -> Iterator[Cluster]:
    """A restricted namespace of its own, deleted at the end."""
    cluster = base.within(f"{name}-{secrets.token_hex(2)}")
    base.apply(objects.namespace(cluster.namespace))
    try:
        yield cluster
    finally:
        if not keep:
            base.kubectl("delete", "namespace", cluster.namespace, "--wait", "--timeout=10m", timeout=660)


@pytest.fixture(scope="session")
def cluster(base: Cluster, pytestconfig: pytest.Config) -> Iterator[Cluster]:
    with a_namespace(base, "sightline-e2e", pytestconfig.getoption("--keep-namespace")) as made:
        yield made


@pytest.fixture(scope="session")
def installed(cluster: Cluster, profile: Sequence[str]) -> tuple[Release, str]:
    """The release that most tests share, and what its installation printed."""
    release = Release(cluster, "sightline", tuple(profile))
    return release, release.install()


@pytest.fixture
def release(installed: tuple[Release, str]) -> Release:
    return installed[0]


@pytest.fixture
def operators(base: Cluster, profile: Sequence[str], pytestconfig: pytest.Config) -> Iterator[Release]:
    """A release whose ranker and captioner are run by KServe and KubeRay; skipped where these are not installed."""
    if not base.serves("inferenceservices.serving.kserve.io", "rayservices.ray.io"):
        pytest.skip("no KServe and KubeRay in this cluster: manifests/clusters/kind-up.sh --operators")
    more = ("--values", str(ROOT / "manifests" / "clusters" / "values-operators.yaml"))
    with a_namespace(base, "sightline-operators", pytestconfig.getoption("--keep-namespace")) as made:
        release = Release(made, "sightline", (*profile, *more))
        release.install()
        yield release
        made.helm("uninstall", "sightline", "--wait", "--timeout", SLOW)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Any:
    """A failed cluster test shows pods and events."""
    report = yield
    looked_at = getattr(item, "funcargs", {}).get("cluster")
    if report.failed and isinstance(looked_at, Cluster):
        report.sections.append(("cluster", looked_at.story()))
    return report
