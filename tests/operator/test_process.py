"""The operator as a process, against an API server over HTTP: killed, cut off, doubled, it goes on to the same end."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import kube_api
import pytest
import shop
from kube_api import Fault, until

OperatorStart = Callable[..., Any]
pytestmark = pytest.mark.timeout(300)
"""Programs start slowly on a busy machine."""


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
    """Both serve the candidate's bundle, and no user is divided; what comes then takes 15 s (see test_life.py)."""
    served = {fetches(api, f"sightline-{component}") for component in ("ranker", "transformer")}
    end = status(api).get("state", {}).get("end")
    return end == "Promoted" and served == {str(bundle.path)} and shop.book(api.store) == []


def test_an_experiment_lives_from_its_creation_to_promotion(
    api: Any, outside: Any, running_controllers: Any, operator: OperatorStart, bundle: Any
) -> None:
    process = operator()
    begin(api, bundle, outside)
    until("it is promoted", lambda: is_promoted(api, bundle), 60)
    until("its events are written", lambda: len(api.store.list("events")) >= 6)
    told = status(api)
    assert [each["reason"] for each in told["state"]["log"]] == [each["reason"] for each in api.store.list("events")]
    assert (told["verdict"], told["share"]) == ("win", "0 %")
    assert told["lift"].startswith("+")
    conditions = {each["type"]: each["status"] for each in told["conditions"]}
    assert conditions == {
        "Ready": "True",
        "Progressing": "True",
        "Stalled": "False",
        "Reconciled": "True",
        "Verdict": "True",
    }
    assert process.ready()
    assert process.metric('sightline_experiment_phase{experiment="captions",phase="Stopping"}') == 1
    assert process.metric('sightline_experiment_decisions_total{experiment="captions",reason="Promoted"}') == 1
    assert {1, 16, 128, 256} <= set(outside.warmed)
    assert process.end() == 0
    assert (api.store.get("leases", shop.NAMESPACE, "sightline-operator")["spec"]["holderIdentity"]) == ""
    assert not [line for line in process.log if "ERROR" in line or "Traceback" in line]


def test_an_operator_killed_and_cut_off_again_and_again_comes_to_the_same_end(
    api: Any, outside: Any, running_controllers: Any, operator: OperatorStart, bundle: Any
) -> None:
    """SIGKILL at two writes, before their answer; then failing requests, broken watches, an API that is away."""
    killing = {"experiments/status", "configmaps"}
    process = [operator()]

    def kill(verb: str, resource: str, body: Any) -> None:
        if resource in killing:
            killing.discard(resource)
            process[0].process.kill()

    api.after_write = kill
    begin(api, bundle, outside)
    while killing:
        until("it is killed", lambda: process[0].process.poll() is not None or not killing)
        process[0] = operator()
    api.faults += [Fault(how, times=3) for how in (500, 409, "unheard", "lost")] + [Fault(410, "watch", times=2)]
    api.drop_watches.set()
    api.away = True
    before = shop.book(api.store)
    time.sleep(1.5)
    assert shop.book(api.store) == before
    api.away = False
    api.drop_watches.clear()
    until("it is promoted", lambda: is_promoted(api, bundle), 60)
    assert process[0].end() == 0


def test_of_two_operators_one_acts_and_the_other_follows_when_it_is_gone(
    api: Any, outside: Any, running_controllers: Any, operator: OperatorStart, bundle: Any
) -> None:
    outside.lift = 0.0
    first, second = operator("first"), operator("second")
    begin(api, bundle, outside, schedule={"stages": [{"share": 5, "hold": "60s"}]})
    until("it runs", lambda: phase(api) == "Running")
    leader, standby = first, second

    def one_leads() -> bool:
        """The lease changes hands where a busy machine renews it late: who holds it now also says so."""
        nonlocal leader, standby
        holder = api.store.get("leases", shop.NAMESPACE, "sightline-operator")["spec"]["holderIdentity"]
        leader, standby = (first, second) if holder == "first" else (second, first)
        return (
            leader.metric("sightline_operator_leader") == 1
            and standby.metric("sightline_operator_leader") == 0
            and standby.ready()
        )

    until("one of them leads, and only one", one_leads)
    leader.process.send_signal(signal.SIGSTOP)  # it cannot even notice
    until("the other one leads", lambda: standby.metric("sightline_operator_leader") == 1)
    steps = status(api)["state"]["steppedAt"]
    until("it acts", lambda: status(api)["state"]["steppedAt"] > steps)
    leader.process.send_signal(signal.SIGCONT)
    outside.failures = 0.5
    until("users are back on stable", lambda: phase(api) == "Stopping" and shop.book(api.store) == [])
    assert status(api)["state"]["end"] == "RolledBack"
    leads = "sightline_operator_leader"
    until("one of them leads", lambda: (standby.metric(leads), leader.metric(leads)) == (1, 0))
    api.store.delete("experiments", shop.NAMESPACE, "captions")
    until("it is gone", lambda: api.store.find("experiments", shop.NAMESPACE, "captions") is None)
    assert api.store.find("deployments", shop.NAMESPACE, "sightline-ranker-captions") is None


def test_what_cannot_be_used_ends_the_program_with_a_reason(tmp_path: Path) -> None:
    def run(*arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, "-m", "serving.rollout.operator.run", *arguments]
        env = {**os.environ, "KUBECONFIG": str(tmp_path / "nowhere"), **environment}
        return subprocess.run(
            command, env=env, cwd=Path(__file__).parents[2], capture_output=True, text=True, timeout=60
        )

    wrong = run("--assignments=file:///x", "--namespaces=A,b", SIGHTLINE_OPERATOR_LEASE_SECONDS="0")
    assert wrong.returncode == 2
    for told in ("assignments: is 'file:///x'; expected configmap://", "namespaces: is 'A,b'", "lease_seconds: is '0'"):
        assert told in wrong.stderr
    nowhere = run("--assignments=configmap://shop/book")
    assert nowhere.returncode == 1
    assert "set KUBECONFIG" in nowhere.stderr
