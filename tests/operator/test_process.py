"""The operator as a process, against an API server over HTTP: killed, cut off, doubled, it goes on to the same end."""

import json
import time
from collections.abc import Callable
from typing import Any

import kube_api
import pytest
import shop
from kube_api import Fault, until
from kube_store import ApiError

OperatorStart = Callable[..., Any]


def status(api: kube_api.KubeApi, name: str = "captions") -> dict[str, Any]:
    found = api.store.find("experiments", shop.NAMESPACE, name)
    return {} if found is None else found.get("status", {})


def phase(api: kube_api.KubeApi, name: str = "captions") -> str:
    return str(status(api, name).get("phase", ""))


def begin(api: kube_api.KubeApi, bundle: Any, outside: Any, name: str = "captions", **spec: Any) -> None:
    api.store.create("experiments", shop.NAMESPACE, shop.experiment(name, str(bundle.path), outside.url, **spec))


def fetches(api: kube_api.KubeApi, name: str) -> str:
    pod = api.store.get("deployments", shop.NAMESPACE, name)["spec"]["template"]["spec"]
    return str(pod["initContainers"][0]["args"][0])


def is_promoted(api: kube_api.KubeApi, bundle: Any) -> bool:
    """Both serve the candidate's bundle, and nothing of the experiment is left but the resource."""
    left = [api.store.find(kind, shop.NAMESPACE, "sightline-ranker-captions") for kind in ("deployments", "services")]
    served = {fetches(api, f"sightline-{component}") for component in ("ranker", "transformer")}
    return (
        phase(api) == "Promoted" and served == {str(bundle.path)} and shop.book(api.store) == [] and left == [None] * 2
    )


def test_an_experiment_lives_from_its_creation_to_promotion(
    api: Any, outside: Any, running_controllers: Any, operator: OperatorStart, bundle: Any
) -> None:
    process = operator()
    begin(api, bundle, outside)
    until("it is promoted", lambda: is_promoted(api, bundle))
    until("its events are written", lambda: len(api.store.list("events")) >= 6)
    told = status(api)
    assert [each["reason"] for each in told["state"]["log"]] == [each["reason"] for each in api.store.list("events")]
    assert (told["verdict"], told["share"]) == ("win", "0 %")
    assert told["lift"].startswith("+")
    conditions = {each["type"]: each["status"] for each in told["conditions"]}
    assert conditions == {
        "Ready": "True",
        "Progressing": "False",
        "Stalled": "False",
        "Reconciled": "True",
        "Verdict": "True",
    }
    assert process.ready()
    assert process.metric('sightline_experiment_phase{experiment="captions",phase="Promoted"}') == 1
    assert process.metric('sightline_experiment_decisions_total{experiment="captions",reason="Promoted"}') == 1
    assert {1, 16, 128, 256} <= set(outside.warmed)
    assert process.end() == 0
    assert (api.store.get("leases", shop.NAMESPACE, "sightline-operator")["spec"]["holderIdentity"]) == ""
    assert not [line for line in process.log if "ERROR" in line or "Traceback" in line]
