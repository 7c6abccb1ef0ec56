"""An experiment on the release as it is rendered: the real controller, collector, transformer and two real Tritons."""

import base64
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from rendered_pods import Machine, short_folder, started
from scenario import CHART
from small_cluster import NAMESPACE, Cluster, cluster

from charts.tooling.render import parse, render
from models.bundle import read_bundle

pytestmark = pytest.mark.timeout(400)

SETTINGS = (
    "experiments.enabled=true",
    "transformer.settings.tell_arm=true",
    "experiments.assignments.via=mounted",
)
USERS = 60


@pytest.fixture(scope="module")
def release(demo: Path) -> Iterator[Cluster]:
    """Everything of the release that an experiment needs, started in the order of its dependencies."""
    with short_folder() as folder:
        machine = Machine(parse(render([CHART / "values-kind.yaml"], SETTINGS)), demo, folder)
        with cluster(machine) as made:
            for component in ("ranker", "collector", "transformer"):
                made.start(component)
            yield made


def until(what: str, truth: Callable[[], Any], seconds: float = 60) -> Any:
    end = time.monotonic() + seconds
    while not (found := truth()):
        assert time.monotonic() < end, f"{what}: not within {seconds:g} s"
        time.sleep(0.1)
    return found


def collector(release: Cluster) -> str:
    return f"http://127.0.0.1:{release.machine.port('collector', 8090)}"


def metrics(release: Cluster) -> str:
    return f"http://127.0.0.1:{release.machine.port('collector', 8091)}/metrics"


def token(release: Cluster, right: str) -> dict[str, str]:
    """As the shop takes it from the Secret that the chart made."""
    made = release.machine.object("Secret", "sightline-collector-tokens")["data"][right]
    return {"Authorization": f"Bearer {base64.b64decode(made).decode()}"}


def experiment(release: Cluster, demo: Path) -> dict[str, Any]:
    """All users at once, half of them in each arm."""
    second = {"minimumTime": "1s", "lookInterval": "1s", "attributionWindow": "1s", "before": "1s"}
    spec = {
        "target": {"kind": "Deployment", "name": "sightline-ranker", "transformer": "sightline-transformer"},
        "candidate": {"bundle": str(demo / "bundles" / "ranker-ids")},
        "schedule": {"stages": [{"share": 50}]},
        "primaryMetric": {"name": "clicks", "numerator": {"event": "click"}},
        "analysis": {"plannedUsers": 100000, "minimumUsers": 5, "maximumTime": "1h", **second},
        "evidence": {"collector": collector(release)},
    }
    api_version = "sightline.dev/v1alpha1"
    return {"apiVersion": api_version, "kind": "Experiment", "metadata": {"name": "ids"}, "spec": spec}


def arms_of(release: Cluster, demo: Path, prefix: str, users: int) -> dict[str, str]:
    """The contract's digest that each user's scores came from."""
    return {f"{prefix}{n}": ranked(release, demo, f"{prefix}{n}")["contract_digest"] for n in range(users)}


def ranked(release: Cluster, demo: Path, user: str) -> dict[str, Any]:
    request = json.loads((demo / "request.json").read_text())
    request["instances"][0]["user_id"] = user
    url = f"http://127.0.0.1:{release.machine.port('transformer', 8080)}/v1/models/ranker:predict"
    answer = httpx.post(url, json=request, timeout=20)
    assert answer.status_code == 200, answer.text
    (prediction,) = answer.json()["predictions"]
    return dict(prediction)


def metric(page: str, line: str) -> float:
    text = httpx.get(page).text
    values = [each.rsplit(" ", 1)[1] for each in text.splitlines() if each.rsplit(" ", 1)[0] == line]
    return float(values[0]) if values else 0.0


def test_an_experiment_lives_on_what_the_chart_renders(release: Cluster, demo: Path) -> None:
    hurry = {"SIGHTLINE_OPERATOR_STEP_SECONDS": "0.3"}
    controller = release.start("controller", KUBECONFIG=str(release.kubeconfig), **hurry)
    release.store.create("experiments", NAMESPACE, experiment(release, demo))

    until("a candidate", lambda: release.store.find("deployments", NAMESPACE, "sightline-ranker-ids"))
    release.place_candidate("sightline-ranker-ids")
    until("an assignment", lambda: release.sync_book(f"sightline-ranker-ids.{NAMESPACE}"))
    assert release.status("ids")["phase"] == "Running"

    digests = {name: read_bundle(demo / "bundles" / name).contract.digest for name in ("ranker", "ranker-ids")}
    until(
        "two arms", lambda: {ranked(release, demo, f"w{n}")["contract_digest"] for n in range(8)} == {*digests.values()}
    )
    arms = {f"u{n}": ranked(release, demo, f"u{n}")["contract_digest"] for n in range(USERS)}
    assert 10 <= list(arms.values()).count(digests["ranker-ids"]) <= USERS - 10

    rows = 'sightline_collector_rows{kind="exposure"}'
    until("exposures", lambda: metric(metrics(release), rows) >= USERS)
    now = time.time()
    outcomes = [{"id": f"o{user}", "time": now, "user": user, "event": "click"} for user in arms]
    sent = [
        httpx.post(f"{collector(release)}/v1/outcomes", json=outcomes, headers=headers).status_code
        for headers in ({}, token(release, "exposures"), token(release, "outcomes"))
    ]
    assert sent == [401, 403, 200], "each right has a token of its own"
    joined = 'sightline_collector_events_total{kind="outcome",result="stored"}'
    assert metric(metrics(release), joined) == USERS, "of users who have an exposure"

    release.store.patch("experiments", NAMESPACE, "ids", {"spec": {"aborted": True}})
    until("an end", lambda: release.status("ids")["phase"] == "Aborted")
    assert not release.sync_book("-"), "nobody is in an arm any more"
    assert release.store.find("deployments", NAMESPACE, "sightline-ranker-ids") is None
    until("stable for all", lambda: set(arms_of(release, demo, "u", USERS).values()) == {digests["ranker"]})
    assert "forbidden" not in controller.log.read_text()
    assert controller.end()[0] == 0


def test_the_collectors_next_pod_has_the_events_of_the_last(release: Cluster) -> None:
    """What a claim keeps; the last test, for it ends the collector."""
    before = release.running["collector"]
    assert before.end()[0] == 0
    with started(before.container):
        assert metric(metrics(release), 'sightline_collector_rows{kind="exposure"}') >= USERS
