"""What an upgrade does to pods: rolls those whose configuration changed, and holds no GPU twice."""

import json

from scenario import Scenario, load

from charts.tooling.pods import pods_of
from charts.tooling.render import Object, parse, render


def pods(*settings: str) -> dict[str, str]:
    """Pods as text, by owner; Jobs by their component, for their names change."""
    return {pod.component: json.dumps(pod.spec) + str(pod.annotations) for pod in pods_of(parse(render((), settings)))}


def strategy(each: Object) -> Object:
    spec = each["spec"]
    return dict(spec.get("strategy") or spec.get("updateStrategy") or {})


def gpus(scenario: Scenario, owner: str) -> bool:
    return any(
        "gpu" in json.dumps(c["resources"]) for pod in scenario.pods if pod.owner == owner for c in pod.containers
    )


def test_changed_settings_of_the_item_store_restart_it() -> None:
    before, after = pods(), pods("items.redis.bundled.maxMemory=100mb")
    assert {name for name in before if before[name] != after[name]} == {"items"}


def test_changed_settings_of_a_role_restart_that_role_alone() -> None:
    before, after = pods(), pods("transformer.settings.cache_items=5")
    assert {name for name in before if before[name] != after[name]} == {"transformer"}


def test_pods_without_gpu_never_become_fewer_during_an_upgrade(scenario: Scenario) -> None:
    for each in scenario.kind("Deployment"):
        found = strategy(each)
        if gpus(scenario, f"Deployment/{each['metadata']['name']}"):
            assert found["type"] == "Recreate" or found["rollingUpdate"]["maxSurge"] == 0
        else:
            assert found == {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}


def test_kserves_pods_with_a_gpu_make_room_before_the_new_one_comes() -> None:
    (service,) = load("kserve-gpu").kind("InferenceService")
    assert service["spec"]["predictor"]["deploymentStrategy"]["rollingUpdate"] == {"maxSurge": 0, "maxUnavailable": 1}
    assert service["spec"]["transformer"]["deploymentStrategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}


def test_a_jobs_name_changes_with_its_pods_and_with_nothing_else() -> None:
    def name(*settings: str) -> str:
        (job,) = [each for each in parse(render((), settings)) if each["kind"] == "Job"]
        return str(job["metadata"]["name"])

    assert name() == name("bootstrap.backoffLimit=5")
    assert name() != name("bootstrap.waitSeconds=10")


def test_the_kserve_transformer_has_its_port_first_and_no_worker_count() -> None:
    service = load("kserve").one("InferenceService", "sightline-ranker")
    (container,) = service["spec"]["transformer"]["containers"]
    assert container["name"] == "kserve-container"
    assert container["ports"][0]["name"] == "http"
    assert "containerConcurrency" not in service["spec"]["transformer"]
    assert service["metadata"]["annotations"]["serving.kserve.io/deploymentMode"] == "Standard"
    assert "canaryTrafficPercent" not in json.dumps(service)


def test_rays_name_and_head_are_as_kuberay_needs_them() -> None:
    (ray,) = load("rayservice").kind("RayService")
    cluster = ray["spec"]["rayClusterConfig"]
    assert len(ray["metadata"]["name"]) <= 47
    assert cluster["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
    assert "runtime_env" not in ray["spec"]["serveConfigV2"]
    assert not {"serviceUnhealthySecondThreshold", "deploymentUnhealthySecondThreshold"} & ray["spec"].keys()
