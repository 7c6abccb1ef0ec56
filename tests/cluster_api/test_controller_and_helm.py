"""What the controller writes beside Helm 4, which applies on the server's side, and beside KServe's own controller."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import count
from typing import Any

import pytest

from charts.tooling.values import CHART
from serving.rollout.experiment.ports import Readiness
from serving.rollout.kubernetes.api import EXPERIMENT, INFERENCE_SERVICE, MANAGER
from serving.rollout.kubernetes.fetching import fetched
from serving.rollout.kubernetes.predictor import served
from serving.rollout.operator.lease import Elector
from tests.cluster_api.conftest import ApiServer
from tests.cluster_api.release import BUNDLE, DEPLOYMENT, HPA, LEASE, SERVICE, Release, released
from tests.operator.wrong_specs import example

pytestmark = pytest.mark.timeout(900)
"""A real API server and real controllers, beside other work."""
_NUMBERS = count(1)
STORE = ("model.source=store", "model.uri=s3://models/ranker/7", "model.credentialsSecret=keys")
CLAIM = ("model.source=store", "model.uri=pvc://models/ranker/7")
KSERVE = ("ranker.mode=inferenceservice", "ranker.inferenceService.storage=kserve", "transformer.replicas=2")
AUTOSCALED = ("ranker.autoscaling.enabled=true", "ranker.autoscaling.minReplicas=2", "ranker.autoscaling.maxReplicas=2")
STABLE, CANDIDATE = "sightline-ranker-predictor", "sightline-ranker-newer-predictor"


@pytest.fixture
def release(api_server: ApiServer) -> Iterator[Release]:
    with released(api_server, f"helm-{next(_NUMBERS)}") as made:
        yield made


def pods(release: Release, name: str) -> int:
    """As KServe has set them on the Deployment, or on its autoscaler."""
    if name in release.names(HPA):
        return int(release.get(HPA, name)["spec"]["minReplicas"])
    return int(release.get(DEPLOYMENT, name)["spec"]["replicas"])


def template(release: Release, name: str) -> Any:
    return release.get(DEPLOYMENT, name)["spec"]["template"]


def predictor(release: Release) -> dict[str, Any]:
    found = release.get(INFERENCE_SERVICE, "sightline-ranker")
    assert MANAGER not in {each["manager"] for each in found["metadata"]["managedFields"]}
    return dict(found["spec"]["predictor"])


@pytest.mark.parametrize("autoscaling", [(), AUTOSCALED], ids=["fixed", "autoscaled"])
def test_stable_keeps_its_pods_on_kserve(release: Release, autoscaling: tuple[str, ...]) -> None:
    release.install(*STORE, *KSERVE, "ranker.replicas=2", *autoscaling)
    release.until("stable is there", lambda: STABLE in release.names(DEPLOYMENT) and pods(release, STABLE) == 2)
    before, owner = predictor(release), release.owner("newer")
    generation = release.get(DEPLOYMENT, STABLE)["metadata"]["generation"]
    target = release.kserve_target("s3://models/ranker/8", owner)
    release.until("it is deployed", lambda: target.deploy(BUNDLE) is None)
    release.until("the candidate is ready", lambda: target.candidate().readiness is Readiness.READY)
    assert (pods(release, STABLE), pods(release, CANDIDATE)) == (2, 2)
    assert CANDIDATE not in release.names(HPA), "nobody would own it"
    release.upgrade()
    release.until("KServe has heard of it", lambda: pods(release, STABLE) == 1)  # helm has taken the loan back
    release.until("it is deployed again", lambda: target.deploy(BUNDLE) is None)
    release.until("stable has its pods again", lambda: pods(release, STABLE) == 2)
    release.until("it is removed", lambda: target.remove() is None and target.candidate().readiness is Readiness.ABSENT)
    release.until("KServe has removed it", lambda: CANDIDATE not in release.names(DEPLOYMENT))
    assert predictor(release) == before
    assert pods(release, STABLE) == 2
    if not autoscaling:
        assert release.get(DEPLOYMENT, STABLE)["metadata"]["generation"] == generation + 2, "by the upgrade alone"
    release.upgrade()


@pytest.mark.parametrize(
    ("settings", "bundle", "storage"),
    [
        (STORE, "s3://models/ranker/8", "s3://models/ranker/8/repository"),
        ((*STORE, *AUTOSCALED), "s3://models/ranker/8", "s3://models/ranker/8/repository"),
        (CLAIM, "/mnt/store/ranker/8", "pvc://models/ranker/8/repository"),
    ],
    ids=["bucket", "autoscaled", "claim"],
)
def test_a_promotion_on_kserve_leaves_everything_to_helm(
    release: Release, settings: tuple[str, ...], bundle: str, storage: str
) -> None:
    release.install(*settings, *KSERVE, "ranker.replicas=2")
    before, owner = predictor(release), release.owner("newer")
    target = release.kserve_target(bundle, owner, replicas=1)
    release.until("it is deployed", lambda: target.deploy(BUNDLE) is None)
    release.until("the candidate is ready", lambda: target.candidate().readiness is Readiness.READY)
    running = template(release, CANDIDATE)
    release.until("it is promoted", target.promote)
    assert target.candidate().readiness is Readiness.ABSENT
    release.until("its pods are as many as stable's", lambda: pods(release, CANDIDATE) == 2)
    if AUTOSCALED[0] not in settings:
        assert template(release, CANDIDATE) == running, "no pod was replaced"
    now = predictor(release)
    assert (now["name"], served(now), now["minReplicas"]) == ("newer", storage, before["minReplicas"])
    (owned,) = release.get(SERVICE, "sightline-ranker-newer")["metadata"]["ownerReferences"]
    assert owned["kind"] == "InferenceService"
    command = target.promotion_hint()
    release.run(command)
    release.run(command)
    release.upgrade()
    after = predictor(release)
    assert (after["name"], served(after)) == ("newer", storage)
    transformer = release.get(INFERENCE_SERVICE, "sightline-ranker")["spec"]["transformer"]
    assert fetched(transformer) == bundle
    assert not [each for each in transformer["containers"][0]["args"] if "sightline-ranker-newer" in each]
    release.uninstall()
    release.until("nothing of it stays", lambda: not {"sightline-ranker-newer"} & release.names(SERVICE))
    release.until("no autoscaler stays", lambda: release.names(HPA) == set())


def test_values_that_name_the_old_bundle_bring_it_back_whole(release: Release) -> None:
    """With the name that KServe gave it before: what helm does not name any more goes with its fields.

    The new bundle without the promoted name is refused by KServe, and changes nothing.
    """
    release.install(*STORE, *KSERVE)
    before, target = predictor(release), release.kserve_target("s3://models/ranker/8", release.owner("newer"), 1)
    release.until("it is deployed", lambda: target.deploy(BUNDLE) is None)
    release.until("the candidate is ready", lambda: target.candidate().readiness is Readiness.READY)
    release.until("it is promoted", target.promote)
    promoted = predictor(release)
    said = release.refused("model.uri=s3://models/ranker/8")
    assert "predictor.name change requires a model change" in said
    assert predictor(release) == promoted
    release.upgrade()
    assert predictor(release) == before


@pytest.mark.parametrize(
    ("settings", "bundle"),
    [((), "s3://models/ranker/8"), (STORE, "s3://models/ranker/8"), (CLAIM, "/mnt/store/ranker/8")],
    ids=["demo", "bucket", "claim"],
)
def test_a_promotion_of_deployments_leaves_everything_to_helm(
    release: Release, settings: tuple[str, ...], bundle: str
) -> None:
    release.install(*settings)
    target = release.deployment_target(bundle, release.owner("newer"))
    release.until("it is deployed", lambda: target.deploy(BUNDLE) is None)
    release.until("the candidate is ready", lambda: target.candidate().readiness is Readiness.READY)
    release.upgrade(times=1)
    release.until("it is promoted", target.promote)
    release.until("it is removed", lambda: target.remove() is None and target.candidate().readiness is Readiness.ABSENT)
    command = target.promotion_hint()
    release.run(command)
    release.run(command)
    release.upgrade()
    for component in ("ranker", "transformer"):
        found = release.get(DEPLOYMENT, f"sightline-{component}")
        assert fetched(found["spec"]["template"]["spec"]) == bundle
        assert MANAGER not in {each["manager"] for each in found["metadata"]["managedFields"]}


def test_the_lease_goes_with_the_release(release: Release) -> None:
    release.install()
    elector = Elector(
        release.api,
        namespace=release.namespace,
        name="sightline-controller",
        identity="here",
        seconds=15.0,
        now=lambda: datetime.now(UTC),
        monotonic=lambda: 0.0,
        owner="sightline-controller",
    )
    release.until("it leads", lambda: elector.step() is None)
    assert release.names(LEASE) == {"sightline-controller"}
    release.uninstall()
    release.until("the Lease is gone", lambda: release.names(LEASE) == set())


def test_what_ended_holds_neither_itself_nor_its_namespace(release: Release, api_server: ApiServer) -> None:
    """The real program; an experiment whose target is not there ends as Rejected."""
    for name in ("newer", "other"):
        release.owner(name)
    with controller(release):
        release.until("both have ended", lambda: phases(release) == ["Rejected", "Rejected"])
        release.until(
            "nothing holds them", lambda: not any("finalizers" in each["metadata"] for each in found(release))
        )
    gone = api_server.kubectl("--namespace", release.namespace, "delete", "experiment", "newer", "--timeout=60s")
    assert (gone.returncode, len(found(release))) == (0, 1), gone.stderr
    gone = api_server.kubectl("delete", "namespace", release.namespace, "--timeout=100s")
    assert gone.returncode == 0, gone.stderr


def found(release: Release) -> list[dict[str, Any]]:
    return release.all.list(EXPERIMENT, release.namespace)


def phases(release: Release) -> list[str]:
    return [each.get("status", {}).get("phase", "") for each in found(release)]


@contextmanager
def controller(release: Release) -> Iterator[None]:
    evidence = example()["spec"]["evidence"]
    command = [sys.executable, "-m", "serving.rollout.operator.run", "--host=127.0.0.1", "--step-seconds=1"]
    command += [f"--assignments=configmap://{release.namespace}/assignments", f"--namespaces={release.namespace}"]
    command += [f"--collectors={evidence['collector']}", f"--prometheus={evidence['prometheus']}"]
    command += [f"--lease-namespace={release.namespace}", "--metrics-port=0", "--health-port=0"]
    process = subprocess.Popen(command, env={**os.environ, "KUBECONFIG": release.kubeconfig}, cwd=CHART.parents[1])
    try:
        yield
    finally:
        process.terminate()
        process.wait(60)
