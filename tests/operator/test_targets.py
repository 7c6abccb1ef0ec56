"""Candidates beside what the chart really renders: the objects are valid, and apart from stable's."""

import copy
import os
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import shop
import yaml
from jsonschema_rs import Draft202012Validator
from kube_controllers import AUTOSCALER, fetched
from kube_schema import strict
from operator_readme import ROOT
from scenario import Scenario

from charts.tooling.render import LOADER
from serving.rollout.experiment.ports import Readiness, RefusedError, RetryError, VerifiedBundle
from serving.rollout.kubernetes.api import Api
from serving.rollout.kubernetes.deployment import DeploymentTarget
from serving.rollout.kubernetes.inference_service import InferenceServiceTarget
from serving.rollout.kubernetes.objects import LABEL, Owner, changes
from serving.rollout.kubernetes.predictor import served

CRDS = Path(os.environ.get("CRDS", ROOT.parent / "shared" / "crds"))
NEW = "s3://models/ranker/7"
PLURALS = {"Deployment": "deployments", "Service": "services", "InferenceService": "inferenceservices"}


@cache
def kserve_validator() -> Draft202012Validator:
    file = CRDS / "serving.kserve.io_inferenceservices.yaml"
    if not file.is_file():
        pytest.skip(f"{file} is not there: name a folder with KServe's CustomResourceDefinitions in CRDS")
    version = yaml.load(file.read_text(), Loader=LOADER)["spec"]["versions"][0]
    return Draft202012Validator(strict(_without_formats(version["schema"]["openAPIV3Schema"]), top=True))


def _without_formats(schema: Any) -> Any:
    """Kubernetes' own formats mean nothing here; what is a number or a text is either."""
    if isinstance(schema, list):
        return [_without_formats(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    if schema.get("x-kubernetes-int-or-string"):
        return {"type": ["integer", "string"]}
    return {key: _without_formats(each) for key, each in schema.items() if key != "format" or not isinstance(each, str)}


@pytest.fixture
def install(api: Any) -> Any:
    """Puts what a scenario of the chart renders in place of the small release."""

    def run(name: str) -> Any:
        for plural, namespace, there in list(api.store.objects):
            api.store.delete(plural, namespace, there)
        for each in Scenario(name).kind(*PLURALS):
            body = {key: copy.deepcopy(value) for key, value in each.items() if key not in ("apiVersion", "kind")}
            api.store.create(PLURALS[each["kind"]], shop.NAMESPACE, body)
        return api.store

    return run


@pytest.fixture
def deployment_target(driver: Any) -> Any:
    def make(**given: Any) -> DeploymentTarget:
        owner = Owner(given.pop("experiment", "captions"), shop.NAMESPACE, "uid-1")
        named = {"ranker": "sightline-ranker", "transformer": "sightline-transformer", "model": "ranker", "replicas": 2}
        return DeploymentTarget(Api(driver.connected), driver.http, owner=owner, bundle=NEW, **{**named, **given})

    return make


@pytest.fixture
def kserve_target(driver: Any) -> Any:
    def make(**given: Any) -> InferenceServiceTarget:
        owner = Owner("newer", shop.NAMESPACE, "uid-1")
        named = {"service": "sightline-ranker", "model": "ranker", "replicas": 1, "bundle": NEW}
        return InferenceServiceTarget(Api(driver.connected), driver.http, owner=owner, **{**named, **given})

    return make


def verified(number: str = "a") -> VerifiedBundle:
    return VerifiedBundle(f"sha256:{number * 64}", f"sha256:{'c' * 64}")


def caught(store: Any, labels: dict[str, str]) -> set[str]:
    """Services whose selector catches pods with these labels."""
    found = store.list("services", shop.NAMESPACE)
    selectors = {each["metadata"]["name"]: each["spec"].get("selector") or {} for each in found}
    return {name for name, selector in selectors.items() if selector and selector.items() <= labels.items()}


@pytest.mark.parametrize("scenario", ["defaults", "model-store-s3", "model-store-pvc", "pods", "experiments"])
def test_a_candidate_is_a_deployment_of_its_own(install: Any, deployment_target: Any, scenario: str) -> None:
    """The store checks what is created against Kubernetes' schemas; an unknown field is an error."""
    store = install(scenario)
    target = deployment_target(store_secret="credentials")
    assert target.candidate().readiness is Readiness.ABSENT
    target.deploy(verified())
    stable = store.get("deployments", shop.NAMESPACE, "sightline-ranker")
    made = store.get("deployments", shop.NAMESPACE, "sightline-ranker-captions")
    labels = made["spec"]["template"]["metadata"]["labels"]
    assert not stable["spec"]["selector"]["matchLabels"].items() <= labels.items()
    assert made["spec"]["selector"]["matchLabels"].items() <= labels.items()
    assert (
        not made["spec"]["selector"]["matchLabels"].items() <= stable["spec"]["template"]["metadata"]["labels"].items()
    )
    assert caught(store, labels) == {"sightline-ranker-captions"}
    assert labels[LABEL] == "captions"
    assert fetched(made["spec"]["template"]["spec"]) == NEW
    assert made["spec"]["replicas"] == 2
    assert made["metadata"]["ownerReferences"][0]["uid"] == "uid-1"
    text = str(made["spec"]["template"]["spec"].get("affinity", ""))
    assert "'app.kubernetes.io/component': 'ranker'" not in text, "spread from its own pods, not from stable's"
    service = store.get("services", shop.NAMESPACE, "sightline-ranker-captions")
    assert service["spec"]["clusterIP"] == "None"
    assert service["spec"]["ports"][0]["port"] == 9000


def test_a_release_that_serves_the_demo_gets_fetch_containers(install: Any, deployment_target: Any) -> None:
    store = install("defaults")
    target = deployment_target(store_secret="credentials")
    target.deploy(verified())
    pod = store.get("deployments", shop.NAMESPACE, "sightline-ranker-captions")["spec"]["template"]["spec"]
    (fetch,) = [each for each in pod["initContainers"] if each["name"] == "fetch-bundle"]
    transformer = store.get("deployments", shop.NAMESPACE, "sightline-transformer")["spec"]["template"]["spec"]
    assert fetch["image"] == transformer["containers"][0]["image"], "the ranker's has no client of model stores"
    assert fetch["args"] == [NEW, "--to=/mnt/bundle", "--layout=bundle"]
    assert fetch["envFrom"] == [{"secretRef": {"name": "credentials"}}]
    assert fetch["securityContext"]["readOnlyRootFilesystem"] is True
    assert "--bundle=/mnt/bundle" in pod["containers"][0]["args"]
    volumes = {each["name"] for each in pod["volumes"]}
    for container in (fetch, pod["containers"][0]):
        assert {mount["name"] for mount in container["volumeMounts"]} <= volumes


def test_a_candidate_is_made_whole_whatever_is_missing(install: Any, deployment_target: Any) -> None:
    store, target = install("model-store-s3"), deployment_target()
    for plural in ("services", "deployments"):
        target.deploy(verified())
        store.delete(plural, shop.NAMESPACE, "sightline-ranker-captions")
        assert target.candidate().readiness is Readiness.STARTING
    target.deploy(verified())
    target.deploy(verified())
    version = store.version
    target.deploy(verified())
    assert store.version == version, "nothing is written where all is as it should be"
    deployment_target(replicas=1).deploy(verified("b"))
    made = store.get("deployments", shop.NAMESPACE, "sightline-ranker-captions")
    assert made["spec"]["replicas"] == 1
    assert made["metadata"]["annotations"]["sightline.dev/bundle-id"] == verified("b").bundle_id
    target.remove()
    target.remove()
    assert target.candidate().readiness is Readiness.ABSENT


def test_what_cannot_be_a_target_is_refused(install: Any, deployment_target: Any) -> None:
    store = install("model-store-s3")
    with pytest.raises(RefusedError, match="no Deployment of that name"):
        deployment_target(ranker="nowhere").deploy(verified())
    with pytest.raises(RefusedError, match="at most 63"):
        deployment_target(experiment="x" * 60).deploy(verified())
    ranker = store.get("deployments", shop.NAMESPACE, "sightline-ranker")
    wide = {"matchLabels": {"app.kubernetes.io/instance": "sightline"}}
    store.update("deployments", shop.NAMESPACE, {**ranker, "spec": {**ranker["spec"], "selector": wide}})
    with pytest.raises(RefusedError, match="would catch the candidate's pods"):
        deployment_target().deploy(verified())


def test_a_deployment_that_does_not_say_its_bundle_is_refused(api: Any, deployment_target: Any) -> None:
    ranker = api.store.get("deployments", shop.NAMESPACE, "sightline-ranker")
    del ranker["spec"]["template"]["spec"]["initContainers"]
    ranker["spec"]["template"]["spec"]["containers"][0]["args"] = []
    api.store.update("deployments", shop.NAMESPACE, ranker)
    with pytest.raises(RefusedError, match="nothing says which bundle it serves"):
        deployment_target().deploy(verified())


def test_a_stuck_promotion_says_what_it_waits_for(api: Any, deployment_target: Any, controllers: Any) -> None:
    target = deployment_target()
    assert not target.promote()
    ranker = api.store.get("deployments", shop.NAMESPACE, "sightline-ranker")
    condition = {"type": "Progressing", "reason": "ProgressDeadlineExceeded", "message": "timed out progressing"}
    ranker["status"] = {"observedGeneration": ranker["metadata"]["generation"], "conditions": [condition]}
    api.store.update("deployments", shop.NAMESPACE, ranker, "status")
    with pytest.raises(RetryError, match="all users are on the candidate: Deployment sightline-ranker: timed out"):
        target.promote()


def test_stable_is_known_by_what_it_serves(install: Any, deployment_target: Any, kserve_target: Any) -> None:
    install("defaults")
    demo = deployment_target().stable()
    assert "--bundle=/opt/sightline/demo" in demo
    install("model-store-s3")
    assert deployment_target().stable().startswith("s3://")
    install("kserve-storage-s3")
    assert kserve_target().stable().endswith("/repository")
    assert kserve_target().promotion_hint().startswith("helm upgrade sightline ")


@pytest.mark.parametrize("scenario", ["kserve-storage-s3", "kserve-storage-pvc", "experiments-kserve"])
def test_a_candidate_is_a_canary_entry_without_traffic(
    install: Any, kserve_target: Any, controllers: Any, scenario: str
) -> None:
    store, target = install(scenario), kserve_target()
    before = store.get("inferenceservices", shop.NAMESPACE, "sightline-ranker")["spec"]["predictor"]
    target.deploy(verified())
    found = store.get("inferenceservices", shop.NAMESPACE, "sightline-ranker")
    whole = {"apiVersion": "serving.kserve.io/v1beta1", "kind": "InferenceService", **found}
    assert [f"{'.'.join(map(str, e.instance_path))}: {e.message}" for e in kserve_validator().iter_errors(whole)] == []
    (entry,) = found["spec"]["canary"]
    predictor = entry["predictor"]
    assert (entry["trafficPercent"], predictor["name"], predictor["minReplicas"]) == (0, "newer", 1)
    assert not {"maxReplicas", "autoScaling", "scaleTarget", "scaleMetric"} & set(predictor)
    assert served(predictor) == f"{NEW}/repository"
    assert predictor["annotations"][AUTOSCALER] == "none", "an autoscaler of it would be nobody's"
    raised = before["minReplicas"] + 1
    assert found["spec"]["predictor"] == {**before, "minReplicas": raised}, "what KServe takes for it, and no more"
    pods = {**predictor["labels"], "app": "isvc.sightline-ranker-newer-predictor"}
    assert caught(store, pods) == {"sightline-ranker-newer"}
    version = store.version
    target.deploy(verified())
    assert store.version == version
    for _ in range(40):
        controllers.step()
        if target.promote():
            break
    promoted = store.get("inferenceservices", shop.NAMESPACE, "sightline-ranker")
    assert "canary" not in promoted["spec"]
    scaling = {"minReplicas", "maxReplicas", "scaleTarget", "scaleMetric", "autoScaling"}
    now = promoted["spec"]["predictor"]
    assert {k: v for k, v in now.items() if k in scaling} == {k: v for k, v in before.items() if k in scaling}
    assert pods_of(now) == pods_of(predictor), "nothing is restarted"
    whole = {"apiVersion": "serving.kserve.io/v1beta1", "kind": "InferenceService", **promoted}
    assert kserve_validator().is_valid(whole)
    assert target.candidate().readiness is Readiness.ABSENT
    target.remove()
    assert store.find("services", shop.NAMESPACE, "sightline-ranker-newer") is not None


def test_a_predictor_that_is_a_pod_of_its_own_is_brought_its_model_by_a_variable(api: Any, kserve_target: Any) -> None:
    """KServe reads STORAGE_URI of the container `kserve-container`."""
    made = shop.inference_service()
    del made["spec"]["predictor"]["model"]
    env = [{"name": "OTHER", "value": "1"}, {"name": "STORAGE_URI", "value": f"{shop.OLD}/repository"}]
    made["spec"]["predictor"]["containers"] = [{"name": "kserve-container", "image": "triton", "env": env}]
    api.store.create("inferenceservices", shop.NAMESPACE, made)
    target = kserve_target()
    assert target.stable() == f"{shop.OLD}/repository"
    target.deploy(verified())
    (entry,) = api.store.get("inferenceservices", shop.NAMESPACE, "sightline-ranker")["spec"]["canary"]
    (container,) = entry["predictor"]["containers"]
    assert container["env"] == [env[0], {"name": "STORAGE_URI", "value": f"{NEW}/repository"}]
    assert "model" not in entry["predictor"]
    target.promote()
    promoted = api.store.get("inferenceservices", shop.NAMESPACE, "sightline-ranker")["spec"]["predictor"]
    assert (promoted["name"], promoted["containers"]) == ("newer", [container])
    assert (promoted["minReplicas"], promoted["maxReplicas"]) == (2, 5)


def test_what_stable_had_is_asked_back_where_somebody_has_changed_it(api: Any, kserve_target: Any) -> None:
    api.store.create("inferenceservices", shop.NAMESPACE, shop.inference_service())
    target = kserve_target()
    target.deploy(verified())
    found = api.store.get("inferenceservices", shop.NAMESPACE, "sightline-ranker")
    found["spec"]["canary"][0]["predictor"]["annotations"]["sightline.dev/stable-replicas"] = "many"
    api.store.update("inferenceservices", shop.NAMESPACE, found)
    with pytest.raises(RefusedError, match="stable-replicas: 'many'; expected JSON such as"):
        target.remove()


@pytest.mark.parametrize(
    ("scenario", "given", "told"),
    [
        ("kserve-collocated", {}, "transformer=separate"),
        ("kserve", {}, "ranker.inferenceService.storage=kserve"),
        ("kserve-hpa", {}, "ranker.inferenceService.storage=kserve"),
        ("kserve-python", {}, "model.source=store"),
        ("kserve-storage-s3", {"service": "nowhere"}, "no InferenceService of that name"),
    ],
)
def test_an_inference_service_that_cannot_have_a_candidate_is_refused(
    install: Any, kserve_target: Any, scenario: str, given: dict[str, Any], told: str
) -> None:
    install(scenario)
    with pytest.raises(RefusedError, match=told):
        kserve_target(**given).deploy(verified())


def pods_of(predictor: dict[str, Any]) -> dict[str, Any]:
    """What KServe makes pods of. A runtime's container is called the same whether the predictor names it or not."""
    scaling = {"minReplicas", "maxReplicas", "scaleTarget", "scaleMetric", "autoScaling"}
    made = {key: value for key, value in predictor.items() if key not in scaling}
    return made | ({"model": {**made["model"], "name": ""}} if "model" in made else {})


def test_differences_are_merge_patches() -> None:
    old = {"a": 1, "b": {"c": [1], "d": 2, "e": 3}, "f": 4}
    new = {"a": 1, "b": {"c": [2], "d": 2}, "g": {"h": 5}}
    assert changes(old, new) == {"b": {"c": [2], "e": None}, "f": None, "g": {"h": 5}}
    assert changes(old, old) == {}
