"""NetworkPolicies as a cluster's network reads them, and the connections that pods were told to make."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from scenario import Scenario

from charts.tooling.pods import Pod, by_kserve
from charts.tooling.render import Object

TOLD = re.compile(
    r"^(?:--[\w-]+=)?(?:(?P<scheme>[a-z0-9+]+)://)?(?P<host>[a-z0-9][a-z0-9.-]*)(?::(?P<port>\d+))?(?:/.*)?$"
)
NOT_HERE = {"file", "configmap"}
PORTS = {"http": 80, "https": 443, "redis": 6379, "rediss": 6379, "s3": 443}


@dataclass(frozen=True)
class Connection:
    """A pod and an address that one of its arguments names."""

    source: Pod
    host: str
    port: int


def connections(scenario: Scenario) -> Iterator[Connection]:
    """Everything with a scheme or a port in the pods' arguments, but the pod's own machine and the API server."""
    for pod in scenario.pods:
        for container in pod.all_containers:
            for text in (*container.get("command", []), *container.get("args", [])):
                found = TOLD.match(text)
                if not found or found["scheme"] in NOT_HERE or found["host"] == "127.0.0.1":
                    continue
                if found["scheme"] or found["port"]:
                    yield Connection(pod, found["host"], int(found["port"] or PORTS[found["scheme"]]))


def targets(scenario: Scenario, host: str, port: int) -> list[tuple[Pod, int]]:
    """Pods behind a Service's port, and their port. Empty for a host that is no Service of the release."""
    for service in scenario.kind("Service"):
        if service["metadata"]["name"] == host:
            (entry,) = [entry for entry in service["spec"]["ports"] if entry["port"] == port]
            return _behind(scenario, service["spec"]["selector"], entry.get("targetPort", port))
    for each in scenario.kind("RayService", "InferenceService"):
        name = each["metadata"]["name"]
        if host == f"{name}-serve-svc":
            return [
                (pod, port) for pod in scenario.pods if pod.owner.startswith("RayService") and "head" not in pod.owner
            ]
        for part in ("predictor", "transformer"):
            if part in each["spec"] and host == by_kserve(name, part, each["spec"][part]):
                (pod,) = [pod for pod in scenario.pods if pod.owner == f"InferenceService/{name} {part}"]
                return [(pod, _first_port(pod) if port == 80 else port)]
    return []


def _first_port(pod: Pod) -> int:
    """KServe puts Service port 80 before the container in front: the transformer where there is one."""
    containers = {container["name"]: container for container in pod.containers}
    front = containers.get("transformer-container", containers["kserve-container"])
    return int(front["ports"][0]["containerPort"])


def _behind(scenario: Scenario, selector: dict[str, str], target: int | str) -> list[tuple[Pod, int]]:
    found = []
    for pod in scenario.pods:
        if pod.has(selector):
            named = {port["name"]: port["containerPort"] for c in pod.containers for port in c.get("ports", [])}
            found.append((pod, int(named.get(str(target), target))))
    return found


def governed(scenario: Scenario, pod: Pod, side: str) -> list[Object]:
    """Policies that select the pod for `Ingress` or `Egress`."""
    policies = [policy["spec"] for policy in scenario.kind("NetworkPolicy")]
    return [spec for spec in policies if side in spec["policyTypes"] and matches(spec["podSelector"], pod.labels)]


def matches(selector: Object, labels: dict[str, str]) -> bool:
    assert selector.keys() <= {"matchLabels"}, "this reader knows matchLabels only"
    wanted: dict[str, str] = selector.get("matchLabels", {})
    return wanted.items() <= labels.items()


def may_send(scenario: Scenario, source: Pod, to: Pod, port: int) -> bool:
    rules = [rule for spec in governed(scenario, source, "Egress") for rule in spec.get("egress", [])]
    return any(_rule(rule, "to", to, port) for rule in rules)


def may_receive(scenario: Scenario, source: Pod, to: Pod, port: int) -> bool:
    rules = [rule for spec in governed(scenario, to, "Ingress") for rule in spec.get("ingress", [])]
    return any(_rule(rule, "from", source, port) for rule in rules)


def may_leave(scenario: Scenario, source: Pod, host: str, port: int) -> bool:
    """To an address outside of the cluster, or to a Service of another namespace (`service.namespace`)."""
    rules = [rule for spec in governed(scenario, source, "Egress") for rule in spec.get("egress", [])]
    namespace = {"matchLabels": {"kubernetes.io/metadata.name": (*host.split("."), "")[1]}}
    there = [peer for rule in rules if _port(rule, port) for peer in rule.get("to", [])]
    return any("ipBlock" in peer or peer.get("namespaceSelector") == namespace for peer in there)


def _rule(rule: Object, side: str, pod: Pod, port: int) -> bool:
    return _port(rule, port) and any(_peer(peer, pod) for peer in rule.get(side, [{}]))


def _peer(peer: Object, pod: Pod) -> bool:
    """A pod of the release's own namespace."""
    if "ipBlock" in peer or "namespaceSelector" in peer:
        return False
    return matches(peer.get("podSelector", {}), pod.labels)


def _port(rule: Object, port: int) -> bool:
    listed: list[Any] = rule.get("ports", [])
    return not listed or any(entry["port"] == port and entry.get("protocol", "TCP") == "TCP" for entry in listed)
