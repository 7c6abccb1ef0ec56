"""An experiment in deployment mode, for real: users meet a candidate, the controller is killed, all is undone."""

import json
from collections.abc import Iterator
from typing import Any

import e2e_objects as objects
import pytest
from e2e_cluster import Cluster, until

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(3600)]

NAME = "e2e"
CANDIDATE = "/opt/sightline/demo/bundles/ranker-ids"
"""In the images of transformer and rollout: the demo's other bundle."""


@pytest.fixture
def experimenting(release: Any) -> Iterator[Any]:
    """The release with controller and collector; as it was before afterwards."""
    release.upgrade("experiments.enabled=true")
    yield release
    release.cluster.kubectl("delete", "experiment", NAME, "--ignore-not-found", "--wait", timeout=300)
    release.upgrade()


def test_an_experiment_goes_on_after_its_controller_was_killed_and_leaves_nothing(
    experimenting: Any, cluster: Cluster
) -> None:
    release = experimenting
    cluster.apply(objects.experiment(NAME, release.name, CANDIDATE))
    with release.under_load() as reports:
        until(lambda: f"users meet the candidate; {told(cluster)}", lambda: status(cluster, "phase") == "Running", 1500)
        assert status(cluster, "share") == "50 %"
        candidate = cluster.get("deployment", f"{release.name}-ranker-{NAME}")
        assert candidate["metadata"]["ownerReferences"][0]["name"] == NAME
        assert [each["uid"] for each in book(cluster, release.name)] == [uid(cluster)]
        cluster.kubectl("delete", "pod", "--selector", "app.kubernetes.io/component=controller", "--wait=false")
        stepped = status(cluster, "state")["steppedAt"]
        until("another controller acts", lambda: status(cluster, "state")["steppedAt"] > stepped, 300)
        cluster.kubectl("patch", "experiment", NAME, "--type", "merge", "--patch", '{"spec": {"aborted": true}}')
        until(lambda: f"it has ended; {told(cluster)}", lambda: status(cluster, "phase") == "Aborted", 600)
    assert objects.lost(reports[0], fewest=50) == []
    assert book(cluster, release.name) == []
    for kind in ("deployment", "service"):
        assert cluster.kubectl("get", kind, f"{release.name}-ranker-{NAME}", "--ignore-not-found") == ""
    printed = cluster.kubectl("get", "experiments")
    assert printed.split()[:6] == ["NAME", "PHASE", "SHARE", "LIFT", "INTERVAL", "VERDICT"]
    events = cluster.get("events", "--field-selector", f"involvedObject.name={NAME},involvedObject.kind=Experiment")
    assert {"Started", "StageBegan", "Aborted"} <= {each["reason"] for each in events["items"]}


def test_the_api_server_refuses_what_the_definition_refuses(experimenting: Any, cluster: Cluster) -> None:
    """The rules in CEL, by the API server itself."""
    wrong = objects.experiment(NAME, experimenting.name, CANDIDATE)
    wrong["spec"]["schedule"]["stages"].append({"share": 10})
    del wrong["spec"]["target"]["transformer"]
    wrong["spec"]["evidence"] = {}
    text = json.dumps({"apiVersion": "v1", "kind": "List", "items": [wrong]})
    with pytest.raises(AssertionError) as error:
        cluster.kubectl("apply", "--filename", "-", stdin=text)
    for message in ("growing shares", "transformer names the transformer's Deployment", "exactly one of collector"):
        assert message in str(error.value)


def found(cluster: Cluster) -> dict[str, Any]:
    made: dict[str, Any] = cluster.get("experiment", NAME)
    return made


def uid(cluster: Cluster) -> str:
    return str(found(cluster)["metadata"]["uid"])


def status(cluster: Cluster, field: str) -> Any:
    return found(cluster).get("status", {}).get(field)


def told(cluster: Cluster) -> str:
    return f"phase {status(cluster, 'phase')}: {status(cluster, 'message')}"


def book(cluster: Cluster, release: str) -> list[Any]:
    text = cluster.get("configmap", f"{release}-assignments").get("data", {}).get("book.json", "")
    return list(json.loads(text)["assignments"]) if text else []
