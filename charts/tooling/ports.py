"""The table of ports in SECURITY.md: who may reach each by the rendered NetworkPolicies, and what a caller needs."""

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from charts.tooling.pods import Pod, pods_of
from charts.tooling.render import Object, parse, render
from charts.tooling.values import CHART

SECURITY = CHART.parents[1] / "SECURITY.md"
FORMS: tuple[tuple[tuple[Path, ...], tuple[str, ...]], ...] = (
    ((), ("experiments.enabled=true",)),
    ((CHART / "values-gpu.yaml",), ()),
    ((CHART / "values-production.yaml",), ()),
)
"""Values and settings of the forms whose ports the table has: the defaults with experiments, GPU, production."""
NOBODY = "nothing: whoever reaches it may ask"
NEEDS: Mapping[tuple[str, str], str] = {
    ("captioner", "http"): NOBODY,
    ("captioner", "serve"): NOBODY,
    ("captioner", "metrics"): NOBODY,
    (
        "captioner",
        "dashboard",
    ): "Ray's token, of KubeRay's Secret: jobs run code. The static page and the health path are open",
    ("captioner", "client"): "Ray's token: it runs code",
    ("captioner", "gcs-server"): "Ray's token: it runs code",
    ("collector", "http"): "the token of one right: exposures, outcomes, evidence or forget; health is open",
    ("collector", "metrics"): NOBODY,
    ("controller", "metrics"): NOBODY,
    ("controller", "health"): NOBODY,
    (
        "items",
        "redis",
    ): "a user and its password: reader, writer, controller or exposures, each with its own keys and commands",
    ("ranker", "h2c"): "nothing for inference, metadata and health; the other APIs have a key that nobody is told",
    ("ranker", "http"): "nothing for metadata and health; inference has a key that the controller alone has, the other "
    "APIs one that nobody is told",
    ("ranker", "metrics"): NOBODY,
    ("transformer", "http"): NOBODY,
    ("transformer", "grpc"): NOBODY,
}
"""What a caller needs, by component and the port's name. A rendered port that is not here has no place in the chart."""
_SECTION = re.compile(r"(?<=<!-- ports -->\n).*?(?=<!-- end of ports -->)", re.DOTALL)


class PortsError(Exception):
    """SECURITY.md or this table does not fit what the chart renders; the message says what to do."""


def security_text() -> str:
    """SECURITY.md with its table made anew.

    Raises:
        PortsError: a rendered port has no entry in `NEEDS`, an entry no port, or the file no place for the table.
    """
    text = SECURITY.read_text()
    if len(_SECTION.findall(text)) != 1:
        raise PortsError("SECURITY.md: expected one <!-- ports --> and one <!-- end of ports -->, each on its line")
    return _SECTION.sub(lambda _: "\n".join([*_table(), ""]), text)


def _table() -> Iterator[str]:
    reached: dict[tuple[str, int, str], list[str]] = {}
    for files, settings in FORMS:
        objects = parse(render(files, settings))
        policies = [each["spec"] for each in objects if each["kind"] == "NetworkPolicy"]
        for pod in pods_of(objects):
            for number, name in ports(pod):
                known = reached.setdefault((pod.component, number, name), [])
                known += [peer for peer in peers(policies, pod, number) if peer not in known]
    _require_same({(component, name) for component, _, name in reached})
    yield "| Pod | Port | Who may reach it | What a caller needs |"
    yield "| --- | --- | --- | --- |"
    for (component, number, name), sources in sorted(reached.items()):
        who = ", ".join(sources) or "nobody but the node's own probes"
        yield f"| {component} | {number} `{name}` | {who} | {NEEDS[component, name]} |"


def _require_same(rendered: set[tuple[str, str]]) -> None:
    for missing in sorted(rendered - set(NEEDS)):
        raise PortsError(
            f"port {missing[1]} of {missing[0]} is rendered: say in charts/tooling/ports.py what a caller needs"
        )
    for extra in sorted(set(NEEDS) - rendered):
        raise PortsError(f"port {extra[1]} of {extra[0]} is rendered no more: take it out of charts/tooling/ports.py")


def ports(pod: Pod) -> Iterator[tuple[int, str]]:
    """Number and name of every port that a container of the pod declares."""
    for container in pod.containers:
        for port in container.get("ports", []):
            yield port["containerPort"], port["name"]


def peers(policies: Iterable[Object], pod: Pod, port: int) -> Iterator[str]:
    """Who reaches a port of the pod by the ingress rules that select it, in words; everybody where no policy does."""
    governing = [each for each in policies if pod.has(each["podSelector"].get("matchLabels", {}))]
    if not any("Ingress" in each["policyTypes"] for each in governing):
        yield "everybody"
    for rule in (rule for each in governing for rule in each.get("ingress", [])):
        if "ports" not in rule or any(each.get("port") == port for each in rule["ports"]):
            yield from map(_peer, rule["from"]) if rule.get("from") else ("everybody",)


def _peer(peer: Object) -> str:
    """One source of a rule. Raises PortsError for a kind that the chart did not render when this was written."""
    if set(peer) - {"podSelector", "namespaceSelector"}:
        raise PortsError(f"a policy names {peer}: say in charts/tooling/ports.py how it reads")
    namespace = peer.get("namespaceSelector", {}).get("matchLabels", {}).get("kubernetes.io/metadata.name")
    labels = peer.get("podSelector", {}).get("matchLabels", {})
    pods = labels.get("app.kubernetes.io/component") or labels.get("app.kubernetes.io/name")
    if namespace:
        return f"{pods + ' in ' if pods else ''}namespace `{namespace}`"
    if "namespaceSelector" in peer:
        return "every namespace"
    return str(pods or "pods of the release's namespace")
