"""NetworkPolicies: every pod is fenced, every flow that the arguments name is open, and nothing else of note is."""

import pytest
from flows import connections, governed, may_leave, may_receive, may_send, targets
from scenario import Scenario, every, load

from charts.tooling.pods import Pod

OPEN = {"network-open", "bare"}
FENCED = [scenario for scenario in every() if scenario.name not in OPEN]
RAYS_OWN = (6379, 8265, 10001)

fenced = pytest.mark.parametrize("fenced", FENCED, ids=[scenario.name for scenario in FENCED])


@fenced
def test_every_pod_is_selected_for_both_directions(fenced: Scenario) -> None:
    for pod in fenced.pods:
        assert governed(fenced, pod, "Ingress"), pod.owner
        assert governed(fenced, pod, "Egress"), pod.owner


@fenced
def test_what_a_pod_is_told_to_reach_it_may_reach(fenced: Scenario) -> None:
    seen = 0
    for told in connections(fenced):
        found = targets(fenced, told.host, told.port)
        seen += 1
        for pod, port in found:
            where = f"{told.source.owner} -> {pod.owner}:{port}"
            assert may_send(fenced, told.source, pod, port), f"{where}: the sender's policy"
            assert may_receive(fenced, told.source, pod, port), f"{where}: the receiver's policy"
        if not found:
            assert may_leave(fenced, told.source, told.host, told.port), (
                f"{told.source.owner} -> {told.host}:{told.port}"
            )
    assert seen >= 3


def test_the_sweep_follows_connections_inside_and_outside() -> None:
    told = [(told.source.component, told.host) for scenario in FENCED for told in connections(scenario)]
    inside = {component for component, host in told if host.startswith("sightline")}
    assert inside == {"transformer", "ranker", "bootstrap", "backfill", "test"}
    assert {"captioner.example.com", "triton.example.com", "valkey.example.com", "models"} <= {host for _, host in told}


@fenced
def test_every_pod_may_ask_for_names(fenced: Scenario) -> None:
    for pod in fenced.pods:
        rules = [rule for spec in governed(fenced, pod, "Egress") for rule in spec.get("egress", [])]
        ports = [port for rule in rules for port in rule.get("ports", [])]
        assert {"port": 53, "protocol": "UDP"} in ports, pod.owner


@pytest.mark.parametrize("name", ["rayservice", "rayservice-gpu", "profile-gpu", "network-closed"])
def test_rays_own_ports_are_for_rays_own_pods(name: str) -> None:
    scenario = load(name)
    ray = [pod for pod in scenario.pods if pod.owner.startswith("RayService")]
    others = [pod for pod in scenario.pods if pod not in ray]
    assert len(ray) >= 2
    for port in RAYS_OWN:
        assert all(may_receive(scenario, one, other, port) for one in ray for other in ray)
        assert not any(may_receive(scenario, one, other, port) for one in others for other in ray)
        assert not any(may_receive(scenario, stranger(), other, port) for other in ray)


def test_the_item_store_is_for_those_who_use_it() -> None:
    scenario = load("defaults")
    items = scenario.pod("items")
    allowed = {pod.component for pod in scenario.pods if may_receive(scenario, pod, items, 6379)}
    assert allowed == {"transformer", "bootstrap"}
    assert not may_receive(scenario, stranger(), items, 6379)
    assert not may_leave(scenario, items, "example.com", 443)


def test_only_ranking_is_open_to_the_namespace() -> None:
    scenario = load("defaults")
    reached = {
        (pod.component, port["containerPort"])
        for pod in scenario.pods
        for container in pod.containers
        for port in container.get("ports", [])
        if may_receive(scenario, stranger(), pod, port["containerPort"])
    }
    assert reached == {("transformer", 8080), ("transformer", 8081)}


def test_named_callers_replace_the_namespace() -> None:
    scenario = load("network-closed")
    transformer, captioner = scenario.pod("transformer"), next(p for p in scenario.pods if p.owner.endswith("cpu"))
    assert not may_receive(scenario, stranger(), transformer, 8080)
    assert may_receive(scenario, stranger(app="uploads"), captioner, 8000)
    assert not may_receive(scenario, stranger(), captioner, 8000)


def test_processes_that_train_together_reach_one_another() -> None:
    scenario = load("jobs-distributed")
    train = scenario.pod("train")
    assert may_send(scenario, train, train, 29500)
    assert may_receive(scenario, train, train, 29500)
    assert may_receive(scenario, train, train, 41234), "gloo and nccl choose ports of their own"
    assert not may_receive(scenario, stranger(), train, 29500)


@fenced
def test_a_scraped_port_is_open_to_prometheus(fenced: Scenario) -> None:
    for monitor in fenced.kind("PodMonitor"):
        selector = monitor["spec"]["selector"]["matchLabels"]
        pods = [pod for pod in fenced.pods if pod.has(selector)]
        assert pods != [] or selector["app.kubernetes.io/component"] == "candidate", "made by experiments alone"
        for pod in pods:
            assert not pod.owner.endswith(" head"), "Ray's head has no replica to scrape"
            named = {port["name"]: port["containerPort"] for c in pod.containers for port in c.get("ports", [])}
            for endpoint in monitor["spec"]["podMetricsEndpoints"]:
                assert endpoint["port"] in named, f"{pod.owner} has no port {endpoint['port']}"
                rules = [rule for spec in governed(fenced, pod, "Ingress") for rule in spec.get("ingress", [])]
                assert any(
                    "namespaceSelector" in peer
                    and {"port": named[endpoint["port"]], "protocol": "TCP"} in rule["ports"]
                    for rule in rules
                    for peer in rule.get("from", [])
                ), f"{pod.owner} {endpoint['port']}"


@pytest.mark.parametrize("name", sorted(OPEN))
def test_without_policies_there_are_none(name: str) -> None:
    assert load(name).kind("NetworkPolicy") == []


def stranger(**labels: str) -> Pod:
    """A pod of the same namespace that is not ours."""
    return Pod("Pod/stranger", labels, {}, {"containers": []})
