"""From a pod beside the release, with none of its Secrets and no policy in the way, no attack works."""

from typing import Any

import e2e_objects as objects
import pytest
from e2e_cluster import Cluster, until

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(3600)]
ROLES = ("ranker", "items", "collector", "captioner", "transformer")


def test_a_neighbour_without_secrets_gets_nowhere(release: Any, cluster: Cluster) -> None:
    release.upgrade("experiments.enabled=true")
    image = objects.image_of(cluster.get("deployment", f"{release.name}-transformer"))
    addresses = {role: pod_addresses(release.pods(), role) for role in ROLES}
    assert all(addresses.values()), addresses
    cluster.apply(*objects.attacks(image, addresses, "u0001", "i0001"))
    try:
        phase = lambda: cluster.get("pod", objects.ATTACKS)["status"].get("phase")  # noqa: E731
        until("the attacks have ended", lambda: phase() in ("Succeeded", "Failed"), 900)
        tried = objects.last_json(cluster.kubectl("logs", objects.ATTACKS))["tried"]
    finally:
        cluster.kubectl("delete", "pod", objects.ATTACKS, "--ignore-not-found", "--wait")
        release.upgrade()
    assert len(tried) > 50
    assert [each for each in tried if not each["held"]] == []
    assert {pod["metadata"]["uid"] for pod in release.pods() if restarted(pod)} == set()


def pod_addresses(pods: list[dict[str, Any]], role: str) -> list[str]:
    """Addresses of a role's ready pods."""
    label = "app.kubernetes.io/component"
    chosen = [pod for pod in pods if pod["metadata"]["labels"].get(label) == role and objects.ready(pod)]
    return [pod["status"]["podIP"] for pod in chosen]


def restarted(pod: dict[str, Any]) -> bool:
    """Whether a container of the pod has ended once."""
    return any(each["restartCount"] for each in pod["status"].get("containerStatuses", ()))
