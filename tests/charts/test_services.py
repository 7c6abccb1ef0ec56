"""Services, selectors and ports, and that they are the ports which the code listens on."""

import inspect

import pytest
from scenario import Scenario, every, load

from charts.tooling.pods import Pod, by_kserve
from charts.tooling.render import Object, parse, render
from serving.transformer.settings import Settings as TransformerSettings

WORKLOADS = {"Deployment", "StatefulSet"}
# Objects and namespaces of the Kubernetes API and names in certificates, which begin as Services do.
NO_HOSTS = {"namespaces", "lease", "lease-namespace", "store-secret", "predictor_tls_name"}


def selected(scenario: Scenario, selector: dict[str, str]) -> list[Pod]:
    return [pod for pod in scenario.pods if pod.has(selector)]


def ports(pod: Pod) -> dict[str, int]:
    return {port["name"]: port["containerPort"] for c in pod.containers for port in c.get("ports", [])}


def test_selectors_of_workloads_match_their_own_pods_only(scenario: Scenario) -> None:
    for each in scenario.objects:
        if each["kind"] in WORKLOADS:
            selector = each["spec"]["selector"]["matchLabels"]
            owner = f"{each['kind']}/{each['metadata']['name']}"
            assert [pod.owner for pod in selected(scenario, selector)] == [owner]


def test_every_service_reaches_a_pod_on_a_port_that_it_has(scenario: Scenario) -> None:
    for service in scenario.kind("Service"):
        pods = selected(scenario, service["spec"]["selector"])
        assert pods != [], service["metadata"]["name"]
        for port in service["spec"]["ports"]:
            target = port.get("targetPort", port["port"])
            for pod in pods:
                known = ports(pod)
                assert target in known or target in known.values(), f"{service['metadata']['name']} {target}"
                if service["spec"].get("clusterIP") == "None":
                    number = known.get(target, target)
                    assert number == port["port"], f"{service['metadata']['name']}: headless, so ports cannot differ"


def test_selectors_of_one_object_are_the_same_whatever_the_values() -> None:
    """They are immutable: an upgrade that changed one would be refused."""
    found: dict[tuple[str, str], set[str]] = {}
    for scenario in every():
        for each in scenario.kind("Deployment", "StatefulSet"):
            key = (each["kind"], each["metadata"]["name"])
            found.setdefault(key, set()).add(str(each["spec"]["selector"]))
    assert len(found) >= 4
    assert {key: selectors for key, selectors in found.items() if len(selectors) > 1} == {}


def test_budgets_and_autoscalers_point_at_something(scenario: Scenario) -> None:
    for budget in scenario.kind("PodDisruptionBudget"):
        assert selected(scenario, budget["spec"]["selector"]["matchLabels"]) != []
    for scaler in scenario.kind("HorizontalPodAutoscaler"):
        target = scaler["spec"]["scaleTargetRef"]
        scaled = scenario.one(target["kind"], target["name"])
        assert "replicas" not in scaled["spec"], "an upgrade would set the number back"


def test_a_budget_lets_a_pod_go(scenario: Scenario) -> None:
    """Ray's pods belong to a kind without scale, for which Kubernetes knows minAvailable as a number only."""
    for budget in scenario.kind("PodDisruptionBudget"):
        (pod, *_) = selected(scenario, budget["spec"]["selector"]["matchLabels"])
        number = least(scenario, pod)
        assert number > 1, budget["metadata"]["name"]
        if "RayService" in pod.owner:
            assert "maxUnavailable" not in budget["spec"]
            assert 0 < budget["spec"]["minAvailable"] < number
        else:
            assert "minAvailable" not in budget["spec"]
            assert budget["spec"]["maxUnavailable"] not in (0, "0%")


def test_several_pods_of_a_role_are_kept_by_a_budget() -> None:
    names = {each["metadata"]["name"]: each["spec"] for each in load("replicas").kind("PodDisruptionBudget")}
    assert {name: spec["maxUnavailable"] for name, spec in names.items()} == {
        "sightline-captioner": 1,
        "sightline-ranker": "34%",
        "sightline-transformer": 1,
    }
    assert load("defaults").kind("PodDisruptionBudget") == []


def least(scenario: Scenario, pod: Pod) -> int:
    """Pods of the role at the quietest time."""
    owner, _, part = pod.owner.partition(" ")
    kind, _, name = owner.partition("/")
    each = scenario.one(kind, name)
    for scaler in scenario.kind("HorizontalPodAutoscaler"):
        if scaler["spec"]["scaleTargetRef"]["name"] == name:
            return int(scaler["spec"]["minReplicas"])
    if kind == "InferenceService":
        return int(each["spec"][part]["minReplicas"])
    if kind == "RayService":
        return 1 + sum(group["minReplicas"] for group in each["spec"]["rayClusterConfig"]["workerGroupSpecs"])
    return int(each["spec"]["replicas"])


def flags(container: Object) -> dict[str, str]:
    found = [arg for arg in (*container.get("command", []), *container.get("args", [])) if arg.startswith("--")]
    return {name: value for name, _, value in (arg[2:].partition("=") for arg in found)}


@pytest.mark.parametrize("name", ["defaults", "kserve", "kserve-collocated", "kserve-python"])
def test_the_transformer_listens_where_its_ports_say(name: str) -> None:
    pods = [pod for pod in load(name).pods if pod.component in {"transformer", "ranker"}]
    (container,) = [c for pod in pods for c in pod.containers if "serving.transformer.run" in c["command"]]
    given, fields = flags(container), TransformerSettings.model_fields
    named = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert named == {"http": 8080, "grpc": 8081}
    assert int(given.get("http_port", fields["http_port"].default)) == named["http"]
    assert int(given.get("grpc_port", fields["grpc_port"].default)) == named["grpc"]
    assert given.get("host", fields["host"].default) == "0.0.0.0"
    assert given["predictor_protocol"] == "grpc-v2"


@pytest.mark.parametrize(("name", "http"), [("defaults", 8080), ("kserve", 8080), ("kserve-collocated", 8088)])
def test_triton_listens_where_its_ports_say(name: str, http: int) -> None:
    container = next(c for c in load(name).pod("ranker").containers if "grpc-port" in flags(c))
    given = flags(container)
    numbers = [port["containerPort"] for port in container["ports"]]
    assert (
        numbers == [int(given["grpc-port"]), int(given["http-port"]), int(given["metrics-port"])] == [9000, http, 8002]
    )
    assert container["ports"][0]["name"] == "h2c"


def test_the_captioner_listens_where_its_port_says() -> None:
    container = load("defaults").pod("captioner").containers[0]
    given = flags(container)
    assert (given["host"], int(given["port"])) == ("0.0.0.0", 8000)
    assert {"name": "http", "containerPort": 8000}.items() <= container["ports"][0].items()


def test_the_transformer_asks_triton_pod_by_pod() -> None:
    """A Service with an address would keep a gRPC channel on one pod for ever."""
    for name in ("defaults", "replicas", "kserve"):
        scenario = load(name)
        target = flags(scenario.pod("transformer").containers[0])["predictor_host"]
        host, _, port = target.partition(":")
        service = scenario.one("Service", host)
        assert service["spec"]["clusterIP"] == "None"
        assert int(port) == 9000
        assert [pod.component for pod in selected(scenario, service["spec"]["selector"])] == ["ranker"]


def test_every_host_that_a_pod_is_told_is_a_service_of_the_release(scenario: Scenario) -> None:
    services = {each["metadata"]["name"] for each in scenario.kind("Service")}
    for each in scenario.kind("RayService"):
        services.add(f"{each['metadata']['name']}-serve-svc")
    for each in scenario.kind("InferenceService"):
        parts = [part for part in ("predictor", "transformer") if part in each["spec"]]
        services |= {by_kserve(each["metadata"]["name"], part, each["spec"][part]) for part in parts}
    for pod in scenario.pods:
        for container in pod.all_containers:
            for host in told(container):
                assert host in services or "." in host, f"{pod.owner}: {host}"


def told(container: Object) -> list[str]:
    """Hosts in arguments that begin with the release's name."""
    values = [value for name, value in flags(container).items() if name not in NO_HOSTS]
    hosts = [value.partition("://")[2] or value for value in values if not value.startswith("configmap://")]
    return [host.split(":")[0].split("/")[0] for host in hosts if host.startswith("sightline")]


def test_the_told_hosts_are_found() -> None:
    assert inspect.isfunction(told)
    assert set(told(load("defaults").pod("test").containers[0])) == {
        "sightline-transformer",
        "sightline-captioner",
        "sightline-ranker",
    }


@pytest.mark.parametrize(("workers", "available"), [(1, None), (2, 1), (3, 2)])
def test_a_budget_of_ray_counts_its_workers_alone(workers: int, available: int | None) -> None:
    """With the head counted, the only worker might be evicted."""
    settings = ["captioner.mode=rayservice", "captioner.rayService.cpuWorkers.maxReplicas=3"]
    text = render(settings=[*settings, f"captioner.rayService.cpuWorkers.minReplicas={workers}"])
    budgets = [each["spec"] for each in parse(text) if each["kind"] == "PodDisruptionBudget"]
    assert [budget["minAvailable"] for budget in budgets] == [available] * (available is not None)
    assert all(budget["selector"]["matchLabels"]["ray.io/node-type"] == "worker" for budget in budgets)
