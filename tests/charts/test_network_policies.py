"""Who reaches whom, worked out from the rendered policies as a cluster's network would."""

from collections.abc import Iterable
from itertools import product

import pytest
from scenario import Scenario, load

from charts.tooling.pods import Pod
from charts.tooling.render import Object, parse, render

RAY_PORTS = (6379, 8265, 10001)
PORTS = (53, 443, 6379, 8000, 8002, 8080, 8081, 8090, 8091, 8095, 8096, 8097, 8265, 9000, 10001, 29500)


def selects(selector: Object, labels: dict[str, str]) -> bool:
    assert set(selector) <= {"matchLabels"}, "this test reads matchLabels only"
    return bool(selector.get("matchLabels", {}).items() <= labels.items())


class Network:
    """The policies of one release."""

    def __init__(self, objects: Iterable[Object]) -> None:
        self.policies = [each for each in objects if each["kind"] == "NetworkPolicy"]

    def allows(self, source: dict[str, str], target: dict[str, str], port: int, protocol: str = "TCP") -> bool:
        """Between two pods of the release's own namespace."""
        return self._side("egress", "to", source, target, port, protocol) and self._side(
            "ingress", "from", target, source, port, protocol
        )

    def lets_in(self, target: dict[str, str], peer: Object, port: int) -> bool:
        """Whether a rule of the target names exactly this peer and port."""
        return any(peer in rule["from"] and _port(rule, port) for rule in self._rules("ingress", target))

    def lets_out(self, source: dict[str, str], peer: Object) -> set[int]:
        """The ports at which the source reaches exactly this peer."""
        return {
            port["port"]
            for rule in self._rules("egress", source)
            if peer in rule["to"]
            for port in rule.get("ports", [])
        }

    def _rules(self, side: str, labels: dict[str, str]) -> list[Object]:
        about = [each["spec"] for each in self.policies if selects(each["spec"]["podSelector"], labels)]
        assert about == [] or all(set(spec["policyTypes"]) == {"Ingress", "Egress"} for spec in about)
        return [rule for spec in about for rule in spec.get(side, [])]

    def _side(
        self, side: str, key: str, labels: dict[str, str], other: dict[str, str], port: int, protocol: str
    ) -> bool:
        if not any(selects(each["spec"]["podSelector"], labels) for each in self.policies):
            return True
        return any(
            _port(rule, port, protocol)
            and any(set(peer) == {"podSelector"} and selects(peer["podSelector"], other) for peer in rule[key])
            for rule in self._rules(side, labels)
        )


def _port(rule: Object, port: int, protocol: str = "TCP") -> bool:
    return not rule.get("ports") or {"port": port, "protocol": protocol} in rule["ports"]


def roles(scenario: Scenario) -> dict[str, Pod]:
    return {pod.component: pod for pod in scenario.pods}


def flows(scenario: Scenario) -> set[tuple[str, str, int]]:
    """All flows between the release's own pods, on every port that means something."""
    network, found = Network(scenario.objects), roles(scenario)
    return {
        (source, target, port)
        for source, target, port in product(found, found, PORTS)
        if network.allows(found[source].labels, found[target].labels, port)
    }


STACK = {
    ("transformer", "ranker", 9000),
    ("transformer", "items", 6379),
    ("bootstrap", "captioner", 8000),
    ("bootstrap", "items", 6379),
    ("test", "transformer", 8080),
    ("test", "transformer", 8081),
    ("test", "captioner", 8000),
    ("test", "ranker", 8080),
}


def test_the_stack_has_exactly_the_flows_that_it_needs() -> None:
    assert flows(load("defaults")) == STACK


EVENTS = {("transformer", "collector", 8090), ("controller", "collector", 8090)}


def with_candidate(scenario: Scenario) -> dict[str, dict[str, str]]:
    """Labels by role, with those of a candidate's pods as the controller makes them beside a Deployment."""
    labels = {component: pod.labels for component, pod in roles(scenario).items()}
    own = {"app.kubernetes.io/component": "candidate", "sightline.dev/experiment": "captions"}
    ranker = {key: value for key, value in labels["ranker"].items() if key != "sightline/model"}
    return labels | {"candidate": ranker | own}


def test_experiments_add_the_flows_of_candidates_events_and_nothing_else() -> None:
    scenario = load("experiments")
    network, labels = Network(scenario.objects), with_candidate(scenario)
    found = {
        (source, target, port)
        for source, target, port in product(labels, labels, PORTS)
        if network.allows(labels[source], labels[target], port)
    }
    assert found == STACK | EVENTS | {("transformer", "candidate", 9000), ("controller", "candidate", 8080)}
    (monitoring,) = default_peers("monitoring")
    scraped = {"candidate": 8002, "collector": 8091, "controller": 8095, "verdict": 8097}
    assert all(network.lets_in(labels[role], monitoring, port) for role, port in scraped.items())
    assert not network.lets_in(labels["controller"], monitoring, 8096)
    assert not network.lets_in(labels["collector"], monitoring, 8090), "who reads numbers cannot reach the events"


def test_a_candidate_of_kserve_is_warmed_by_the_rankers_policy() -> None:
    between = flows(load("experiments-kserve"))
    assert {("controller", "ranker", 8080), ("transformer", "ranker", 9000)} <= between
    assert ("controller", "ranker", 9000) not in between
    assert between >= EVENTS


def test_named_senders_of_outcomes_and_askers_of_verdicts_are_let_in_and_nobody_else() -> None:
    scenario = load("experiments")
    network, pods = Network(scenario.objects), roles(scenario)
    assert network.allows({"app": "shop"}, pods["collector"].labels, 8090)
    assert network.allows({"app": "flagger"}, pods["verdict"].labels, 8097)
    for stranger in ({"app": "flagger"}, {"app": "somebody"}):
        assert not network.allows(stranger, pods["collector"].labels, 8090)
    assert not network.allows({"app": "shop"}, pods["verdict"].labels, 8097)
    plain = load("experiments-kserve")
    assert not Network(plain.objects).allows({"app": "shop"}, roles(plain)["collector"].labels, 8090)


def test_jobs_reach_what_they_read_and_write_and_training_its_own_kind() -> None:
    training = {("train", "train", port) for port in PORTS}
    backfill = {("backfill", "captioner", 8000), ("backfill", "items", 6379)}
    assert flows(load("jobs")) == STACK | training | backfill


def test_rays_ports_are_open_to_its_own_pods_alone() -> None:
    scenario = load("rayservice")
    between = flows(scenario)
    assert {("captioner", "captioner", port) for port in PORTS} <= between
    strangers = {source for source, target, port in between if target == "captioner" and port in RAY_PORTS}
    assert strangers == {"captioner"}
    network, captioner = Network(scenario.objects), roles(scenario)["captioner"]
    (operator,) = default_peers("rayOperator")
    (monitoring,) = default_peers("monitoring")
    assert network.lets_in(captioner.labels, operator, 8265)
    assert not network.lets_in(captioner.labels, operator, 10001)
    assert not any(network.lets_in(captioner.labels, monitoring, port) for port in RAY_PORTS)


def test_a_collocated_transformer_is_reached_in_tritons_pods() -> None:
    between = flows(load("kserve-collocated"))
    assert {("test", "ranker", 8080), ("ranker", "items", 6379)} <= between
    assert ("test", "ranker", 9000) not in between


@pytest.mark.parametrize("name", ["defaults", "kserve", "rayservice", "jobs", "items-external", "kserve-collocated"])
def test_no_pod_of_a_release_is_without_a_policy(name: str) -> None:
    scenario = load(name)
    network, stranger = Network(scenario.objects), {"app": "somebody"}
    assert scenario.pods != []
    for pod in scenario.pods:
        front = "ranker" if "collocated" in name else "transformer"
        open_to_namespace = {8080, 8081} if pod.component == front else set()
        assert {port for port in PORTS if network.allows(stranger, pod.labels, port)} == open_to_namespace
        (dns,) = default_peers("dns")
        assert 53 in network.lets_out(pod.labels, dns)


def default_peers(key: str) -> list[Object]:
    """The default peers of values.yaml."""
    return {
        "monitoring": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}],
        "dns": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "kube-system"}}}],
        "rayOperator": [
            {
                "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "kuberay"}},
                "podSelector": {"matchLabels": {"app.kubernetes.io/name": "kuberay-operator"}},
            }
        ],
        "outside": [{"ipBlock": {"cidr": "0.0.0.0/0"}}],
    }[key]


def test_only_roles_whose_values_name_a_place_outside_may_go_there() -> None:
    (outside,) = default_peers("outside")

    def reached(*settings: str) -> dict[str, set[int]]:
        objects = parse(render(settings=settings))
        network = Network(objects)
        labels = {each["metadata"]["name"]: each["spec"]["podSelector"]["matchLabels"] for each in network.policies}
        found = {name.removeprefix("sightline-"): network.lets_out(each, outside) for name, each in labels.items()}
        return {name: ports for name, ports in found.items() if ports}

    assert reached() == {}
    assert reached("jobs.data=/volume/tables", "jobs.volume.create=true") == {"backfill": {443}}
    assert reached("jobs.store.uri=s3://models") == {name: {443} for name in ("backfill", "train", "lift", "publish")}
    store = reached("model.source=store", "model.uri=s3://models/ranker/7")
    assert store == {"transformer": {443}, "ranker": {443}}
    assert reached("model.source=store", "model.uri=pvc://claim/models/ranker/7") == {}
    items = reached("items.redis.bundled.enabled=false", "items.redis.external.url=rediss://valkey.example.com:6390/0")
    assert items == {name: {6390} for name in ("transformer", "bootstrap", "backfill")}
    captioner = reached("captioner.mode=external", "captioner.externalUrl=http://captions.example.com")
    assert captioner == {name: {80} for name in ("bootstrap", "backfill", "test")}
    assert reached("captioner.settings.preset=llava-7b") == {"captioner": {443}}
    api = {name: {443, 6443} for name in ("transformer", "controller")}
    assert reached("experiments.enabled=true") == api
    assert reached("experiments.enabled=true", "experiments.assignments.via=mounted") == {"controller": {443, 6443}}
    assert reached("experiments.enabled=true", "experiments.candidates.credentialsSecret=s3") == api | {
        "candidate": {443}
    }
    assert reached("model.source=store", "model.uri=s3://models/ranker/7", "networkPolicy.external.to=null") == {}


def test_each_place_outside_is_open_to_its_own_roles_at_its_own_port_and_address() -> None:
    """Production's store of items was a port of everything that left the release, Triton's pods among it."""
    production = load("profile-production")
    network = Network(production.objects)
    found = {
        pod.component: {
            port["port"]
            for rule in network._rules("egress", pod.labels)
            if any("ipBlock" in peer for peer in rule["to"])
            for port in rule["ports"]
        }
        for pod in production.pods
    }
    api = {443, 6443}
    assert found == {
        "captioner": api,
        "transformer": api | {6379},
        "ranker": {443},
        "collector": set(),
        "controller": api,
        "test": set(),
    }
    places = {"items": "10.1.0.0/24", "captioner": "10.2.0.0/24", "ranker": "10.3.0.0/24", "exposures": "10.4.0.0/24"}
    values = [
        *("items.redis.bundled.enabled=false", "items.redis.external.url=redis://valkey.example.com:6390/0"),
        *("captioner.mode=external", "captioner.externalUrl=http://captions.example.com:8001"),
        *("ranker.mode=external", "ranker.externalHost=triton.example.com:9001"),
        *(f"networkPolicy.external.places.{place}[0].ipBlock.cidr={cidr}" for place, cidr in places.items()),
    ]
    objects = parse(render(settings=values))
    network = Network(objects)
    (transformer,) = (
        each["spec"]["podSelector"]["matchLabels"]
        for each in network.policies
        if each["metadata"]["name"] == "sightline-transformer"
    )
    reached = {place: network.lets_out(transformer, {"ipBlock": {"cidr": cidr}}) for place, cidr in places.items()}
    assert reached == {"items": {6390}, "captioner": set(), "ranker": {9001}, "exposures": set()}
    (outside,) = default_peers("outside")
    assert network.lets_out(transformer, outside) == set()


def test_a_pod_elsewhere_that_calls_itself_the_operator_does_not_reach_ray() -> None:
    rules = Network(load("rayservice").objects)._rules("ingress", roles(load("rayservice"))["captioner"].labels)
    reach = [peer for rule in rules if _port(rule, 8265) for peer in rule["from"]]
    assert all("namespaceSelector" not in peer or peer["namespaceSelector"] for peer in reach)
    assert len(reach) == 2


def test_no_policies_are_made_when_they_are_switched_off() -> None:
    assert [each for each in parse(render(settings=["networkPolicy.enabled=false"])) if "Policy" in each["kind"]] == []
