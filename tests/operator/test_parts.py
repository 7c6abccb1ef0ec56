"""Parts of the operator by themselves: the agenda, the watch's filter, status, errors, arguments in the README."""

import re
import threading
import time
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
import shop
from kube_api import Fault
from operator_readme import README, rules
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import generate_latest

from serving.rollout.experiment.decide import begin
from serving.rollout.experiment.ports import RefusedError, RetryError
from serving.rollout.experiment.reconcile import Step
from serving.rollout.experiment.spec import ExperimentSpec
from serving.rollout.experiment.state import Entry, Phase
from serving.rollout.kubernetes.api import CONFIG_MAP, DEPLOYMENT, SERVICE, Api, ConflictError
from serving.rollout.kubernetes.rollouts import rollout, waits_for
from serving.rollout.kubernetes.warming import warm
from serving.rollout.operator.agenda import Agenda
from serving.rollout.operator.health import metrics, probe, serving
from serving.rollout.operator.metrics import OperatorMetrics
from serving.rollout.operator.settings import Settings, SettingsError, read_settings
from serving.rollout.operator.status import status
from serving.rollout.operator.turn import Key
from serving.rollout.operator.watch import Changes

NOW = datetime(2026, 11, 24, 9, 0, tzinfo=UTC)


def test_the_readme_has_every_argument_with_its_default() -> None:
    rows = re.findall(r"^\| (`--[^|]+) \| ([^|]+) \|", README.read_text(), re.MULTILINE)
    told = {name: default for names, default in rows for name in re.findall(r"`--([a-z-]+)`", names)}
    fields = {name.replace("_", "-"): field for name, field in Settings.model_fields.items()}
    assert set(told) == set(fields)
    for name, field in fields.items():
        if isinstance(field.default, int | float):
            assert float(told[name]) == float(field.default), name
    assert told["assignments"] == "required"
    assert ("apps", "deployments", "patch") in rules()


@pytest.mark.parametrize(
    ("argument", "told"),
    [
        ("--assignments=redis://user:secret@x/0", "expected configmap://namespace/name"),
        ("--assignments=configmap://book", "expected configmap://namespace/name"),
        ("--namespaces=a,,b", "separated by commas"),
        ("--workers=0", "workers: is '0'"),
        ("--lease-seconds=x", "lease_seconds: is 'x'"),
    ],
)
def test_settings_that_cannot_be_used_are_named(argument: str, told: str) -> None:
    with pytest.raises(SettingsError, match=re.escape(told)) as error:
        read_settings(["--assignments=configmap://shop/book", argument], {})
    assert "secret@" not in str(error.value)


def test_settings_come_from_arguments_then_the_environment() -> None:
    environment = {"SIGHTLINE_OPERATOR_WORKERS": "7", "SIGHTLINE_OPERATOR_REDIS_PASSWORD": "hidden"}
    found = read_settings(["--assignments=rediss://x:1/2?prefix=a:", "--lease=l"], environment)
    assert (found.workers, found.lease, found.assignments) == (7, "l", "rediss://x:1/2?prefix=a:")
    assert "hidden" not in repr(found)


def test_the_agenda_gives_each_key_once_and_when_it_is_due() -> None:
    now = [0.0]
    agenda: Agenda[str] = Agenda(lambda: now[0])
    agenda.put("late", 5)
    agenda.put("soon", 1)
    agenda.put("late", 9)
    assert agenda.take(0) is None
    now[0] = 6
    assert agenda.take(0) == "soon"
    agenda.put("soon")
    assert agenda.take(0) == "late", "soon is in work"
    assert agenda.take(0) is None
    agenda.done("soon", 30)
    assert agenda.take(0) == "soon", "it was put again meanwhile"
    agenda.done("soon", None)
    agenda.done("late", 2)
    assert agenda.take(0) is None
    now[0] = 8
    assert agenda.take(0) == "late"


def test_the_agenda_wakes_up_for_what_is_put() -> None:
    agenda: Agenda[str] = Agenda(time.monotonic)
    timer = threading.Timer(0.1, agenda.put, ["x"])
    timer.start()
    began = time.monotonic()
    assert agenda.take(20) == "x"
    assert time.monotonic() - began < 10
    timer.join()


def test_our_own_status_writes_are_no_news() -> None:
    changes, key = Changes(), Key("shop", "captions")
    seen = {"uid": "1", "generation": 1, "resourceVersion": "5"}
    assert changes.is_new(key, seen)
    assert not changes.is_new(key, {**seen, "resourceVersion": "6"})
    assert changes.is_new(key, {**seen, "generation": 2})
    assert changes.is_new(key, {**seen, "generation": 2, "deletionTimestamp": "now"})
    assert changes.is_new(key, {**seen, "uid": "2"})
    assert changes.is_new(Key("other", "captions"), seen)


@pytest.mark.parametrize(
    ("fault", "kind", "told"),
    [
        (409, ConflictError, "injected by the test"),
        (403, RetryError, 'apiGroups: [""], resources: ["configmaps"], verbs: ["create"]'),
        (401, RetryError, "look at its ServiceAccount"),
        (422, RefusedError, "correct what the message names"),
        (404, RetryError, "its kind is not installed"),
        (429, RetryError, "HTTP 429"),
        (503, RetryError, "HTTP 503"),
        ("unheard", RetryError, "does not answer"),
    ],
)
def test_every_failure_says_what_was_asked_and_what_to_do(
    driver: Any, api: Any, fault: Any, kind: type[Exception], told: str
) -> None:
    api.faults[:] = [Fault(fault)]
    with pytest.raises(kind, match=re.escape(told)) as error:
        Api(driver.connected).create(CONFIG_MAP, shop.NAMESPACE, {"metadata": {"name": "x"}})
    assert "cannot create ConfigMap shop/x: " in str(error.value)


def test_what_is_not_there_is_none_and_may_be_deleted(driver: Any) -> None:
    found = Api(driver.connected)
    assert found.get(DEPLOYMENT, shop.NAMESPACE, "nowhere") is None
    found.delete(DEPLOYMENT, shop.NAMESPACE, "nowhere", uid="1")
    assert len(found.list(SERVICE, shop.NAMESPACE)) == 3


def test_a_rollout_is_done_when_all_pods_are_new_and_available() -> None:
    done = {"observedGeneration": 3, "replicas": 2, "updatedReplicas": 2, "availableReplicas": 2}

    def look(**status: Any) -> tuple[bool, bool]:
        body = {"metadata": {"name": "d", "generation": 3}, "spec": {"replicas": 2}, "status": {**done, **status}}
        found = rollout(body)
        return found.done, found.stuck

    assert look() == (True, False)
    for wrong in ({"observedGeneration": 2}, {"replicas": 3}, {"updatedReplicas": 1}, {"availableReplicas": 1}):
        assert look(**wrong) == (False, False)
    condition = {"type": "Progressing", "reason": "ProgressDeadlineExceeded"}
    assert look(availableReplicas=1, conditions=[condition]) == (False, True)
    assert rollout({"metadata": {"name": "d", "generation": 1}, "spec": {}}).done is False


def test_pods_say_why_they_wait() -> None:
    def pod(**status: Any) -> str:
        return waits_for({"metadata": {"name": "p"}, "status": status})

    failed = {"terminated": {"exitCode": 1, "message": "no such entry"}}
    waiting = {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off"}}
    told = pod(initContainerStatuses=[{"name": "fetch", "state": waiting, "lastState": failed}])
    assert told == "pod p, container fetch: CrashLoopBackOff back-off exit code 1: no such entry"
    assert pod(containerStatuses=[{"name": "r", "state": {"waiting": {"reason": "PodInitializing"}}}]) == ""
    scheduled = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "no GPU"}
    assert pod(conditions=[scheduled]) == "pod p: Unschedulable: no GPU"
    assert pod() == ""


def ready_pod(port: int) -> dict[str, Any]:
    ports = [{"name": "h2c", "containerPort": 9000}, {"name": "http", "containerPort": port}]
    return {
        "metadata": {"name": "p"},
        "spec": {"containers": [{"name": "ranker", "ports": ports}]},
        "status": {"podIP": "127.0.0.1", "conditions": [{"type": "Ready", "status": "True"}]},
    }


def test_every_ready_pod_is_warmed_in_several_sizes(driver: Any, outside: Any) -> None:
    pods = [ready_pod(outside.port), ready_pod(outside.port)]
    warm(driver.http, pods, model="ranker", bundle_id=outside.bundle_id)
    assert outside.warmed == [1, 16, 128, 256] * 2, "512 is more than max_batch_size"
    with pytest.raises(RefusedError, match="and sha256:other was verified"):
        warm(driver.http, pods, model="ranker", bundle_id="sha256:other")
    with pytest.raises(RetryError, match="none of the candidate's 1 pods is ready"):
        warm(driver.http, [{**pods[0], "status": {"podIP": "127.0.0.1"}}], model="ranker", bundle_id="x")
    with pytest.raises(RetryError, match="does not answer"):
        warm(driver.http, [ready_pod(1)], model="ranker", bundle_id="x")


@pytest.mark.parametrize(
    ("scores", "kind", "told"),
    [
        ([0.5, "NaN"], RefusedError, "not finite"),
        ([0.5], RetryError, "1 scores for 2"),
        ([0.5, None], RefusedError, "not"),
    ],
)
def test_scores_that_are_none_are_seen(scores: list[Any], kind: type[Exception], told: str) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("/config"):
            parameters = {"bundle": {"string_value": "b"}}
            return httpx.Response(200, json={"max_batch_size": 2, "parameters": parameters})
        if request.url.path.endswith("/infer"):
            return httpx.Response(200, json={"outputs": [{"data": scores if b"[2," in request.content else [0.1]}]})
        return httpx.Response(200, json={"inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 3]}]})

    with httpx.Client(transport=httpx.MockTransport(answer)) as client, pytest.raises(kind, match=told):
        warm(client, [ready_pod(1)], model="ranker", bundle_id="b")


def test_conditions_keep_their_time_while_they_stay_as_they_are() -> None:
    spec = ExperimentSpec.model_validate(shop.experiment("captions", "b", "http://x")["spec"])
    state = begin("captions", "uid-1", NOW)
    first = status(spec, state, "", generation=1, old={}, now=NOW)
    later = status(spec, state, "no answer", generation=2, old=first, now=NOW.replace(hour=10))
    times = {each["type"]: each["lastTransitionTime"] for each in later["conditions"]}
    assert times == {
        "Ready": "2026-11-24T09:00:00Z",
        "Progressing": "2026-11-24T09:00:00Z",
        "Stalled": "2026-11-24T09:00:00Z",
        "Reconciled": "2026-11-24T10:00:00Z",
        "Verdict": "2026-11-24T09:00:00Z",
    }
    assert later["conditions"][3]["message"] == "no answer"
    assert (later["phase"], later["share"], later["observedGeneration"]) == ("Pending", "0 %", 2)


def test_metrics_have_the_promised_names_and_forget_what_is_gone() -> None:
    registry = CollectorRegistry()
    told = OperatorMetrics(registry)
    spec = ExperimentSpec.model_validate(shop.experiment("captions", "b", "http://x")["spec"])
    before = begin("captions", "uid-1", NOW)
    entry = Entry(at=NOW, reason="Started", message="m")
    after = before.model_copy(update={"phase": Phase.PREPARING, "log": (entry,)})
    told.stepped("captions", before, spec, Step(after, None))
    told.stepped("captions", after, spec, Step(after, None))
    told.failed("captions")
    page = generate_latest(registry).decode()
    assert 'sightline_experiment_phase{experiment="captions",phase="Preparing"} 1.0' in page
    assert 'sightline_experiment_phase{experiment="captions",phase="Pending"} 0.0' in page
    assert 'sightline_experiment_decisions_total{experiment="captions",reason="Started"} 1.0' in page
    assert 'sightline_experiment_reconcile_failures_total{experiment="captions"} 1.0' in page
    names = {"share", "lift", "difference", "users", "ratio_p", "guardrail"}
    assert {name for name in names if f"# TYPE sightline_experiment_{name} gauge" in page} == names
    told.gone("captions")
    assert 'phase="Preparing"' not in generate_latest(registry).decode()


def test_probes_and_metrics_are_served() -> None:
    trouble = [""]
    pages = {"/health/ready": probe(lambda: trouble[0]), "/metrics": metrics(CollectorRegistry())}
    with serving("127.0.0.1", 0, pages) as port:
        url = f"http://127.0.0.1:{port}"
        assert httpx.get(f"{url}/health/ready").status_code == 200
        trouble[0] = "the API server does not answer"
        answer = httpx.get(f"{url}/health/ready")
        assert (answer.status_code, answer.text) == (503, "the API server does not answer\n")
        assert httpx.get(f"{url}/metrics").status_code == 200
        assert httpx.get(f"{url}/other").status_code == 404
