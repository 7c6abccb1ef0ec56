"""Lives of an experiment, the API over HTTP: operators are killed, and requests fail, at each step."""

import random
import threading
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
import shop
from kube_api import Fault
from kube_store import ApiError, Object

from serving.rollout.kubernetes.api import Api
from serving.rollout.operator.record import FINALIZER
from serving.rollout.operator.resync import Resync

KINDS = ("Deployment", "InferenceService")
END = "Promoted"


def create(
    driver: Any, bundle: Any, outside: Any, kind: str = "Deployment", name: str = "captions", **spec: Any
) -> None:
    if kind == "InferenceService":
        for component in ("ranker", "transformer"):
            if driver.api.store.find("deployments", shop.NAMESPACE, f"sightline-{component}"):
                driver.api.store.delete("deployments", shop.NAMESPACE, f"sightline-{component}")
        if driver.api.store.find("inferenceservices", shop.NAMESPACE, "sightline-ranker") is None:
            driver.api.store.create("inferenceservices", shop.NAMESPACE, shop.inference_service())
        spec["target"] = {"kind": kind, "name": "sightline-ranker"}
    made = shop.experiment(name, str(bundle.path), outside.url, **spec)
    driver.api.store.create("experiments", shop.NAMESPACE, made)


def found(driver: Any, name: str = "captions") -> Object:
    return driver.api.store.find("experiments", shop.NAMESPACE, name) or {}


def phase(driver: Any, name: str = "captions") -> str:
    return str(found(driver, name).get("status", {}).get("phase", ""))


def ended(driver: Any, name: str = "captions") -> Callable[[], bool]:
    return lambda: phase(driver, name) in ("Promoted", "RolledBack", "Aborted", "Rejected", "Inconclusive", "Won")


def held(driver: Any, name: str = "captions") -> bool:
    return FINALIZER in (found(driver, name).get("metadata", {}).get("finalizers") or ())


def resynced(driver: Any) -> list[str]:
    """The experiments that the list now and then would have looked at."""
    put: list[str] = []
    stop = threading.Event()
    stop.set()
    namespaces = (shop.NAMESPACE,)
    api = Api(driver.connected)
    Resync(api, namespaces=namespaces, put=lambda key: put.append(key.name), seconds=1, monotonic=lambda: 0.0).run(stop)
    return put


def is_ready(driver: Any, kind: str) -> bool:
    name = "sightline-ranker-captions" + ("-predictor" if kind == "InferenceService" else "")
    deployment = driver.api.store.find("deployments", shop.NAMESPACE, name)
    return deployment is not None and deployment.get("status", {}).get("availableReplicas", 0) >= 1


def watch_traffic(driver: Any, kind: str) -> list[str]:
    """Faults: an assignment that sends users, or shadows, to a candidate that is not ready."""
    faults: list[str] = []

    def look(verb: str, resource: str, body: Object) -> None:
        if resource != "configmaps":
            return
        for each in shop.book(driver.api.store):
            if (each["share"] or each["shadow"] or each["everyone"]) and not is_ready(driver, kind):
                faults.append(f"revision {each['revision']} was published while the candidate was not ready")

    driver.api.after_write = look
    return faults


def at_every_write(how: str) -> Callable[[str, str], str]:
    """Killed once at every write of a kind to an object, its first, its second, and so on; at four of ten states."""
    done: Counter[tuple[str, str]] = Counter()
    killed: set[tuple[str, str, int]] = set()
    chance = random.Random(5)

    def when(method: str, url: str) -> str:
        if method == "GET":
            return ""
        if url.endswith("/status"):
            return how if chance.random() < 0.4 else ""
        this = (method, url, done[method, url])
        if how == "before" and this not in killed:
            killed.add(this)
            return how
        done[method, url] += 1
        return how if how == "after" else ""

    return when


STABLE_PODS = 2


def assert_apart(driver: Any) -> None:
    """Stable never had fewer pods than without the experiment, and no field or autoscaler is left of it."""
    store = driver.api.store
    stable = [
        each["spec"]["replicas"]
        for _, _, plural, each in store.log
        if plural == "deployments" and each["metadata"]["name"] == "sightline-ranker-predictor"
    ]
    assert min(stable, default=STABLE_PODS) == STABLE_PODS
    for plural in ("inferenceservices", "deployments"):
        for each in store.list(plural, shop.NAMESPACE):
            managed = {entry["manager"] for entry in each["metadata"].get("managedFields") or ()}
            assert "sightline-controller" not in managed, each["metadata"]["name"]
    assert store.list("horizontalpodautoscalers") == []


def assert_promoted(driver: Any, bundle: Any, kind: str) -> None:
    store, uri = driver.api.store, str(bundle.path)
    assert_apart(driver)
    assert shop.book(store) == []
    if kind == "Deployment":
        for component in ("ranker", "transformer"):
            pod = store.get("deployments", shop.NAMESPACE, f"sightline-{component}")["spec"]["template"]["spec"]
            assert pod["initContainers"][0]["args"][0] == uri
        for plural in ("deployments", "services"):
            assert store.find(plural, shop.NAMESPACE, "sightline-ranker-captions") is None
        return
    spec = store.get("inferenceservices", shop.NAMESPACE, "sightline-ranker")["spec"]
    assert "canary" not in spec
    predictor, transformer = spec["predictor"], spec["transformer"]
    assert (predictor["name"], predictor["model"]["storageUri"]) == ("captions", f"{uri}/repository")
    assert (predictor["minReplicas"], predictor["maxReplicas"], predictor["scaleMetric"]) == (2, 5, "cpu")
    assert transformer["initContainers"][0]["args"][0] == uri
    assert "--predictor_host=sightline-ranker-captions.shop:9000" in transformer["containers"][0]["args"]
    assert predictor["annotations"]["serving.kserve.io/autoscalerClass"] == "hpa"
    service = store.get("services", shop.NAMESPACE, "sightline-ranker-captions")
    assert [each["kind"] for each in service["metadata"]["ownerReferences"]] == ["InferenceService"]
    assert "sightline.dev/experiment-uid" not in service["metadata"]["annotations"], "it is stable's now"


@pytest.mark.parametrize("kind", KINDS)
def test_an_experiment_is_promoted(driver: Any, bundle: Any, outside: Any, kind: str) -> None:
    faults = watch_traffic(driver, kind)
    create(driver, bundle, outside, kind)
    driver.run(ended(driver))
    assert phase(driver) == END, found(driver)["status"]["message"]
    assert_promoted(driver, bundle, kind)
    assert f"To keep it: the chart's values cannot name {bundle.path}" in found(driver)["status"]["message"]
    assert (faults, driver.failures) == ([], [])


@pytest.mark.parametrize("how", ["before", "after"])
@pytest.mark.parametrize("kind", KINDS)
def test_an_operator_killed_at_every_write_comes_to_the_same_end(
    driver: Any, bundle: Any, outside: Any, kind: str, how: str
) -> None:
    faults = watch_traffic(driver, kind)
    driver.when = at_every_write(how)
    create(driver, bundle, outside, kind)
    driver.run(ended(driver))
    assert phase(driver) == END, found(driver)["status"]["message"]
    assert_promoted(driver, bundle, kind)
    assert driver.crashes > 20
    assert faults == []


@pytest.mark.parametrize("how", ["", "before", "after"])
@pytest.mark.parametrize("replicas", [1, 4])
def test_what_stable_was_lent_is_given_back_by_an_end_of_any_kind(
    driver: Any, bundle: Any, outside: Any, replicas: int, how: str
) -> None:
    """Four pods beside maxReplicas of 5: that is raised too."""
    outside.lift = 0.0
    driver.when = at_every_write(how) if how else driver.when
    create(driver, bundle, outside, "InferenceService", candidate={"bundle": str(bundle.path), "replicas": replicas})
    store = driver.api.store
    driver.run(lambda: phase(driver) == "Running")
    candidate = store.get("deployments", shop.NAMESPACE, "sightline-ranker-captions-predictor")
    assert candidate["spec"]["replicas"] == replicas
    store.patch("experiments", shop.NAMESPACE, "captions", {"spec": {"aborted": True}})
    driver.run(lambda: ended(driver)() and not held(driver))
    spec = store.get("inferenceservices", shop.NAMESPACE, "sightline-ranker")["spec"]
    assert spec == shop.inference_service()["spec"]
    assert_apart(driver)


def test_a_loan_that_an_upgrade_took_back_is_made_again(driver: Any, bundle: Any, outside: Any) -> None:
    """Helm sets what its values say: the same numbers as before, or others, which are stable's own from then on."""
    outside.lift = 0.0
    create(driver, bundle, outside, "InferenceService")
    driver.run(lambda: phase(driver) == "Running")
    store = driver.api.store

    def least() -> int:
        spec = store.get("inferenceservices", shop.NAMESPACE, "sightline-ranker")["spec"]
        return int(spec["predictor"]["minReplicas"])

    for given in (2, 4, 4):
        changes = {"spec": {"predictor": {"minReplicas": given}}}
        store.patch("inferenceservices", shop.NAMESPACE, "sightline-ranker", changes)
        driver.run(lambda given=given: least() == given + 1)
    store.patch("experiments", shop.NAMESPACE, "captions", {"spec": {"aborted": True}})
    driver.run(ended(driver))
    assert least() == 4


@pytest.mark.parametrize("when", ["Running", "Promoting"])
def test_what_ended_is_deleted_without_a_controller(driver: Any, bundle: Any, outside: Any, when: str) -> None:
    """A finalizer that stayed would hold the resource, and its namespace, once the controller is gone."""
    create(driver, bundle, outside, "InferenceService")
    driver.run(lambda: phase(driver) == when)
    store = driver.api.store
    store.patch("experiments", shop.NAMESPACE, "captions", {"spec": {"aborted": when == "Running"}})
    assert held(driver)
    driver.run(lambda: ended(driver)() and not held(driver))
    store.delete("experiments", shop.NAMESPACE, "captions")
    assert found(driver) == {}


def test_what_an_earlier_version_holds_after_its_end_is_let_go(driver: Any, bundle: Any, outside: Any) -> None:
    """The list now and then finds it: nobody changes what has ended, so nothing else would."""
    create(driver, bundle, outside)
    driver.run(lambda: ended(driver)() and not held(driver))
    store = driver.api.store
    assert resynced(driver) == []
    store.patch("experiments", shop.NAMESPACE, "captions", {"metadata": {"finalizers": [FINALIZER]}})
    assert resynced(driver) == ["captions"]
    driver.run(lambda: not held(driver))


@pytest.mark.parametrize("how", [409, 500, "lost"])
def test_writes_that_fail_are_done_again(driver: Any, bundle: Any, outside: Any, how: int | str) -> None:
    """Four of ten, whatever they are."""
    faults = watch_traffic(driver, "Deployment")
    chance = random.Random(4)

    def when(method: str, url: str) -> str:
        if method != "GET" and chance.random() < 0.4:
            driver.api.faults[:] = [Fault(how)]
        return ""

    driver.when = when
    create(driver, bundle, outside)
    driver.run(ended(driver))
    assert phase(driver) == END, found(driver)["status"]["message"]
    assert_promoted(driver, bundle, "Deployment")
    assert faults == []


@pytest.mark.parametrize("how", [500, 403])
def test_reads_that_fail_change_nothing(driver: Any, bundle: Any, outside: Any, how: int) -> None:
    create(driver, bundle, outside)
    driver.run(lambda: phase(driver) == "Running")
    before = shop.book(driver.api.store)
    for plural in ("deployments", "configmaps", "experiments", "services"):
        driver.api.faults[:] = [Fault(how, plural=plural, times=1000)]
        failed, done = len(driver.failures), driver.turns_done
        driver.run(lambda done=done: driver.turns_done >= done + 3)
        driver.api.faults.clear()
        assert shop.book(driver.api.store) == before
        told = found(driver)["status"]["conditions"]
        reconciled = next(each for each in told if each["type"] == "Reconciled")
        assert len(driver.failures) > failed or reconciled["status"] == "False"
    driver.run(ended(driver))
    assert phase(driver) == END


def test_a_guardrail_that_is_passed_rolls_back(driver: Any, bundle: Any, outside: Any) -> None:
    outside.lift = 0.0
    create(driver, bundle, outside)
    driver.run(lambda: phase(driver) == "Running")
    outside.failures = 0.2
    driver.run(ended(driver))
    assert phase(driver) == "RolledBack"
    assert shop.book(driver.api.store) == []
    assert driver.api.store.find("deployments", shop.NAMESPACE, "sightline-ranker-captions") is None
    ranker = driver.api.store.get("deployments", shop.NAMESPACE, "sightline-ranker")
    assert ranker["spec"]["template"]["spec"]["initContainers"][0]["args"][0] == shop.OLD
    assert "failures" in found(driver)["status"]["message"] + str(found(driver)["status"]["state"]["log"])


def test_no_data_is_no_pass(driver: Any, bundle: Any, outside: Any) -> None:
    create(driver, bundle, outside)
    outside.silent = True
    driver.run(ended(driver))
    assert phase(driver) == "RolledBack"
    assert all(each["share"] <= 500 for each in shop.book(driver.api.store))
    assert found(driver)["status"]["state"].get("stage", 0) == 0


def test_an_aborted_experiment_gives_users_back(driver: Any, bundle: Any, outside: Any) -> None:
    outside.lift = 0.0
    create(driver, bundle, outside)
    driver.run(lambda: phase(driver) == "Running")
    store = driver.api.store
    store.patch("experiments", shop.NAMESPACE, "captions", {"spec": {"aborted": True}})
    driver.run(ended(driver))
    assert (phase(driver), shop.book(store)) == ("Aborted", [])
    assert store.find("services", shop.NAMESPACE, "sightline-ranker-captions") is None


def test_a_paused_experiment_stays_as_it_is(driver: Any, bundle: Any, outside: Any) -> None:
    create(driver, bundle, outside)
    driver.run(lambda: phase(driver) == "Running")
    store = driver.api.store
    store.patch("experiments", shop.NAMESPACE, "captions", {"spec": {"paused": True}})
    before, done = shop.book(store), driver.turns_done
    driver.run(lambda: driver.turns_done >= done + 10)
    assert shop.book(store) == before
    assert found(driver)["status"]["share"] == "5 %"
    store.patch("experiments", shop.NAMESPACE, "captions", {"spec": {"paused": False}})
    driver.run(ended(driver))
    assert phase(driver) == END


@pytest.mark.parametrize("when", ["", "Preparing", "Running", "Promoting"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_deleted_experiment_leaves_nothing_behind(
    driver: Any, bundle: Any, outside: Any, kind: str, when: str
) -> None:
    create(driver, bundle, outside, kind)
    if when:
        driver.run(lambda: phase(driver) == when)
    store = driver.api.store
    store.delete("experiments", shop.NAMESPACE, "captions")
    driver.run(lambda: not found(driver))
    assert shop.book(store) == []
    if when == "Promoting" and kind == "InferenceService":
        predictor = store.get("inferenceservices", shop.NAMESPACE, "sightline-ranker")["spec"]["predictor"]
        if predictor.get("name") == "captions":  # it had begun, and was done to its end
            assert_promoted(driver, bundle, kind)
            return
    assert store.find("deployments", shop.NAMESPACE, "sightline-ranker-captions") is None
    assert store.find("services", shop.NAMESPACE, "sightline-ranker-captions") is None
    if kind == "InferenceService":
        assert "canary" not in store.get("inferenceservices", shop.NAMESPACE, "sightline-ranker")["spec"]


def test_a_second_experiment_on_the_same_model_is_rejected(driver: Any, bundle: Any, outside: Any) -> None:
    create(driver, bundle, outside)
    driver.run(lambda: phase(driver) == "Running")
    create(driver, bundle, outside, name="second")
    driver.run(ended(driver, "second"), "second")
    assert phase(driver, "second") == "Rejected"
    assert "captions" in found(driver, "second")["status"]["message"]
    stalled = {each["type"]: each["status"] for each in found(driver, "second")["status"]["conditions"]}
    assert (stalled["Stalled"], stalled["Ready"]) == ("True", "False")
    driver.run(ended(driver))
    assert phase(driver) == END


def test_after_one_has_ended_another_may_begin(driver: Any, bundle: Any, outside: Any) -> None:
    create(driver, bundle, outside, "InferenceService")
    driver.run(ended(driver))
    create(driver, bundle, outside, "InferenceService", name="second")
    driver.run(ended(driver, "second"), "second")
    assert phase(driver, "second") == END
    services = {each["metadata"]["name"] for each in driver.api.store.list("services")}
    assert "sightline-ranker-second" in services
    assert "sightline-ranker-captions" not in services, "stable's earlier Service has no pods any more"


def test_a_candidate_that_never_runs_is_rejected(driver: Any, bundle: Any, outside: Any) -> None:
    driver.controllers.broken.add(str(bundle.path))
    create(driver, bundle, outside, candidate={"bundle": str(bundle.path), "startLimit": "60s"})
    driver.run(ended(driver))
    assert phase(driver) == "Rejected"
    assert "CrashLoopBackOff" in str(found(driver)["status"]["state"]["log"])
    assert shop.book(driver.api.store) == []
    assert driver.api.store.find("deployments", shop.NAMESPACE, "sightline-ranker-captions") is None


def test_a_bundle_that_cannot_be_used_is_rejected(driver: Any, bundle: Any, outside: Any) -> None:
    model = bundle.path / "model.onnx"
    model.write_bytes(model.read_bytes()[:-1] + b"x")
    create(driver, bundle, outside)
    driver.run(ended(driver))
    assert phase(driver) == "Rejected"
    assert "model.onnx" in found(driver)["status"]["message"] + str(found(driver)["status"]["state"]["log"])


def test_a_candidate_that_serves_another_bundle_is_rejected(driver: Any, bundle: Any, outside: Any) -> None:
    outside.bundle_id = "sha256:" + 64 * "0"
    create(driver, bundle, outside)
    driver.run(ended(driver))
    assert phase(driver) == "Rejected"
    assert outside.bundle_id in str(found(driver)["status"]["state"]["log"])


def test_a_spec_that_cannot_be_read_is_told_and_changes_nothing(driver: Any, bundle: Any, outside: Any) -> None:
    create(driver, bundle, outside, analysis={"plannedUsers": 1000, "minimumTime": "9d", "maximumTime": "8d"})
    driver.run(lambda: driver.turns_done >= 2)
    told = {each["type"]: each for each in found(driver)["status"]["conditions"]}
    assert told["Stalled"]["status"] == "True"
    assert "minimumTime is longer than maximumTime" in told["Stalled"]["message"]
    assert "phase" not in found(driver)["status"]
    driver.api.store.delete("experiments", shop.NAMESPACE, "captions")
    driver.run(lambda: not found(driver))


def test_a_promotion_that_no_values_could_keep_is_refused_before_it_begins(
    driver: Any, bundle: Any, outside: Any
) -> None:
    create(driver, bundle, outside, candidate={"bundle": "/opt/sightline/demo/bundles/ranker-ids"})
    driver.run(lambda: driver.turns_done >= 2)
    told = {each["type"]: each for each in found(driver)["status"]["conditions"]}
    assert told["Stalled"]["status"] == "True"
    assert "spec.promotion is automatic" in told["Stalled"]["message"]
    assert "set promotion: report" in told["Stalled"]["message"]
    assert not held(driver), "nothing was made for it"
    driver.api.store.patch("experiments", shop.NAMESPACE, "captions", {"spec": {"promotion": "report"}})
    driver.run(lambda: phase(driver) != "")


def test_a_deleted_experiment_whose_status_was_wiped_leaves_no_users_behind(
    driver: Any, bundle: Any, outside: Any
) -> None:
    create(driver, bundle, outside)
    driver.run(lambda: phase(driver) == "Running")
    store = driver.api.store
    store.update("experiments", shop.NAMESPACE, {**found(driver), "status": {}}, "status")
    store.delete("experiments", shop.NAMESPACE, "captions")
    driver.run(lambda: not found(driver))
    assert shop.book(store) == []
    assert store.find("deployments", shop.NAMESPACE, "sightline-ranker-captions") is None


def test_the_operator_used_every_rule_of_its_role_and_no_other(driver: Any, bundle: Any, outside: Any) -> None:
    """Together with secrets, leases and watches, which other tests use."""
    create(driver, bundle, outside)
    driver.run(ended(driver))
    driver.api.store.delete("experiments", shop.NAMESPACE, "captions")
    driver.run(lambda: not found(driver))
    create(driver, bundle, outside, "InferenceService")
    driver.run(ended(driver))
    create(driver, bundle, outside, "InferenceService", name="second")
    driver.run(ended(driver, "second"), "second")
    elsewhere = {("", "secrets", "get"), ("sightline.dev", "experiments", "watch")}
    elsewhere |= {("coordination.k8s.io", "leases", verb) for verb in ("get", "create", "update")}
    assert driver.api.allowed - driver.api.used == elsewhere


def test_an_action_that_is_forbidden_names_the_rule_that_is_missing(driver: Any, bundle: Any, outside: Any) -> None:
    driver.api.allowed.discard(("apps", "deployments", "create"))
    create(driver, bundle, outside)
    driver.run(lambda: driver.turns_done >= 6)
    told = {each["type"]: each for each in found(driver)["status"]["conditions"]}["Reconciled"]
    assert told["status"] == "False"
    assert 'apiGroups: ["apps"], resources: ["deployments"], verbs: ["create"]' in told["message"]
    driver.api.allowed.add(("apps", "deployments", "create"))
    driver.run(ended(driver))
    assert phase(driver) == END


def test_a_service_that_would_catch_the_candidates_pods_is_refused(driver: Any, bundle: Any, outside: Any) -> None:
    wide = {"metadata": {"name": "wide"}, "spec": {"selector": {"app.kubernetes.io/instance": "sightline"}}}
    driver.api.store.create("services", shop.NAMESPACE, wide)
    create(driver, bundle, outside)
    driver.run(ended(driver))
    assert phase(driver) == "Rejected"
    assert "Service wide selects" in str(found(driver)["status"]["state"]["log"])


def test_somebody_elses_object_is_left_alone(driver: Any, bundle: Any, outside: Any) -> None:
    theirs = {"metadata": {"name": "sightline-ranker-captions"}, "spec": {"selector": {"app": "x"}}}
    driver.api.store.create("services", shop.NAMESPACE, theirs)
    create(driver, bundle, outside)
    driver.run(ended(driver))
    assert phase(driver) == "Rejected"
    assert driver.api.store.get("services", shop.NAMESPACE, "sightline-ranker-captions")["spec"] == theirs["spec"]
    with pytest.raises(ApiError):
        driver.api.store.get("deployments", shop.NAMESPACE, "sightline-ranker-captions")
