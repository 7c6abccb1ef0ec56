"""What every container and pod must have, whichever controller makes it."""

import re

from scenario import Scenario, every

from charts.tooling.pods import Pod
from charts.tooling.render import Object

# name[:tag][@digest], the name with an optional registry.
IMAGE = re.compile(r"^(?P<name>[a-z0-9.:-]+(/[a-z0-9._-]+)+)(:(?P<tag>[\w.-]+)|@(?P<digest>sha256:[0-9a-f]{64}))$")
PROBES = ("startupProbe", "readinessProbe", "livenessProbe")
# KubeRay adds the autoscaler's container to the head; only its resources and security context are ours.
RESTRICTED_VOLUMES = {
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "persistentVolumeClaim",
    "projected",
    "secret",
}


def containers(scenario: Scenario) -> list[tuple[Pod, Object]]:
    return [(pod, container) for pod in scenario.pods for container in pod.all_containers]


def test_the_sweep_sees_pods_of_every_controller() -> None:
    owners = {pod.owner.partition("/")[0] for scenario in every() for pod in scenario.pods}
    assert owners == {"Deployment", "StatefulSet", "Job", "CronJob", "Pod", "RayService", "InferenceService"}
    assert sum(len(scenario.pods) for scenario in every()) > 150


def test_service_links_are_off_since_settings_refuse_unknown_variables(scenario: Scenario) -> None:
    assert [pod.owner for pod in scenario.pods if pod.spec.get("enableServiceLinks") is not False] == []


def test_no_pod_has_a_token_but_those_that_ask_the_api(scenario: Scenario) -> None:
    tokens = {pod.owner for pod in scenario.pods if pod.spec.get("automountServiceAccountToken") is not False}
    autoscaled = {
        f"RayService/{ray['metadata']['name']} head"
        for ray in scenario.kind("RayService")
        if ray["spec"]["rayClusterConfig"]["enableInTreeAutoscaling"]
    }
    bound = {subject["name"] for each in scenario.kind("RoleBinding") for subject in each["subjects"]}
    allowed = {pod.owner for pod in scenario.pods if pod.spec["serviceAccountName"] in bound}
    assert tokens == autoscaled | allowed
    for account in scenario.kind("ServiceAccount"):
        assert account["automountServiceAccountToken"] is False


def test_accounts_exist_unless_they_are_somebody_elses(scenario: Scenario) -> None:
    made = {account["metadata"]["name"] for account in scenario.kind("ServiceAccount")}
    used = {pod.spec["serviceAccountName"] for pod in scenario.pods}
    elsewhere = {"default", "shared"} if scenario.name == "accounts" else set()
    assert used - elsewhere <= made
    assert made <= used | {"sightline-jobs", "sightline-tests"}


def test_pods_meet_the_restricted_pod_security_standard(scenario: Scenario) -> None:
    for pod in scenario.pods:
        context = pod.spec["securityContext"]
        assert context["runAsNonRoot"] is True, pod.owner
        assert context.get("runAsUser") == (None if scenario.name.startswith("site") else 10001), pod.owner
        assert context["seccompProfile"] == {"type": "RuntimeDefault"}, pod.owner
        assert not {"hostNetwork", "hostPID", "hostIPC"} & pod.spec.keys(), pod.owner
        for volume in pod.spec.get("volumes", []):
            assert volume.keys() - {"name"} <= RESTRICTED_VOLUMES, f"{pod.owner} {volume['name']}"


def test_containers_cannot_gain_rights_or_write_to_their_image(scenario: Scenario) -> None:
    for pod, container in containers(scenario):
        context = container.get("securityContext", {})
        expected = {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "runAsNonRoot": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert expected.items() <= context.items(), f"{pod.owner} {container['name']}"


def test_containers_say_what_they_need_and_are_bounded(scenario: Scenario) -> None:
    for pod, container in containers(scenario):
        resources = container.get("resources", {})
        where = f"{pod.owner} {container['name']}"
        assert {"cpu", "memory"} <= resources.get("requests", {}).keys(), where
        assert "memory" in resources.get("limits", {}), where


def test_long_running_containers_have_all_three_probes(scenario: Scenario) -> None:
    for pod in scenario.pods:
        for container in pod.containers if pod.long else []:
            missing = [probe for probe in PROBES if probe not in container]
            assert missing == [], f"{pod.owner} {container['name']}"


def test_probes_ask_ports_by_a_name_that_the_container_has(scenario: Scenario) -> None:
    rays_agent = 52365
    for pod in scenario.pods:
        for container in pod.containers:
            names = {port["name"] for port in container.get("ports", [])}
            for probe in (container[name] for name in PROBES if name in container):
                for action in ("httpGet", "tcpSocket", "grpc"):
                    port = probe.get(action, {}).get("port", rays_agent)
                    assert port == rays_agent or port in names, f"{pod.owner} {container['name']} {port}"


def test_a_pod_has_time_for_its_pre_stop_and_its_calls(scenario: Scenario) -> None:
    for pod in scenario.pods:
        for container in pod.containers:
            command = container.get("lifecycle", {}).get("preStop", {}).get("exec", {}).get("command", ["sleep", "0"])
            assert command[0] == "sleep"
            assert int(command[1]) + 5 <= pod.spec["terminationGracePeriodSeconds"], pod.owner


def test_clients_of_triton_have_left_before_it_refuses_calls(scenario: Scenario) -> None:
    """Its gRPC connections end well before preStop does: Triton refuses calls for two seconds on the others."""
    for pod, container in containers(scenario):
        words = dict(word.partition("=")[::2] for word in container.get("args", []))
        age = words.get("--connection-age-seconds") or words.get("--grpc-max-connection-age", "")[:-3]
        if age:
            command = container.get("lifecycle", {}).get("preStop", {}).get("exec", {}).get("command", ["sleep", "0"])
            assert int(age) <= max(1, int(command[1]) / 2), pod.owner


def test_the_sweep_sees_both_ranker_s_connection_ages() -> None:
    said = [word for each in every() for _, container in containers(each) for word in container.get("args", [])]
    assert any(word.startswith("--connection-age-seconds=") for word in said)
    assert any(word.startswith("--grpc-max-connection-age=") for word in said)


def test_images_are_pinned(scenario: Scenario) -> None:
    for pod, container in containers(scenario):
        found = IMAGE.match(container["image"])
        assert found, f"{pod.owner}: {container['image']}"
        assert found["tag"] != "latest"
        assert container["imagePullPolicy"] in {"Always", "IfNotPresent", "Never"}


def test_air_gapped_sites_pull_everything_from_their_registry() -> None:
    (scenario,) = [each for each in every() if each.name == "air-gapped"]
    images = {container["image"] for _, container in containers(scenario)}
    assert len(images) >= 5
    assert {image for image in images if not image.startswith("registry.example.com/mirror/")} == set()
    assert f"registry.example.com/mirror/sightline/captioner@sha256:{'1' * 64}" in images
    assert all(pod.spec["imagePullSecrets"] == [{"name": "registry"}] for pod in scenario.pods)


def test_mounts_name_volumes_and_volumes_are_used(scenario: Scenario) -> None:
    for pod in scenario.pods:
        mounts = [mount["name"] for container in pod.all_containers for mount in container.get("volumeMounts", [])]
        claimed = {claim["metadata"]["name"] for claim in _claims(scenario, pod)}
        assert set(mounts) == pod.volumes.keys() | claimed, pod.owner
        for container in pod.all_containers:
            paths = [mount["mountPath"] for mount in container.get("volumeMounts", [])]
            assert len(paths) == len(set(paths)), f"{pod.owner} {container['name']}"


def test_names_within_a_pod_are_unique(scenario: Scenario) -> None:
    for pod in scenario.pods:
        for names in (
            [container["name"] for container in pod.all_containers],
            [volume["name"] for volume in pod.spec.get("volumes", [])],
            [port["containerPort"] for container in pod.containers for port in container.get("ports", [])],
            [port["name"] for container in pod.containers for port in container.get("ports", [])],
        ):
            assert len(names) == len(set(names)), f"{pod.owner}: {names}"
        for container in pod.all_containers:
            variables = [variable["name"] for variable in container.get("env", [])]
            assert len(variables) == len(set(variables)), f"{pod.owner} {container['name']}: {variables}"


def test_shared_memory_is_memory_and_tmp_is_writable(scenario: Scenario) -> None:
    for pod in scenario.pods:
        for container in (each for each in pod.all_containers if each["name"] != "audit"):  # a site's own
            mounts = {mount["mountPath"]: pod.volumes.get(mount["name"], {}) for mount in container["volumeMounts"]}
            if "/dev/shm" in mounts:
                assert mounts["/dev/shm"]["emptyDir"]["medium"] == "Memory", pod.owner
            if pod.component != "items":
                assert "emptyDir" in mounts["/tmp"], f"{pod.owner} {container['name']}"
    for component in {"ranker", "captioner"} & {pod.component for pod in scenario.pods}:
        for pod in scenario.pods:
            # KubeRay gives its pods a shared memory of their own.
            if pod.component == component and "RayService" not in pod.owner:
                assert any(m["mountPath"] == "/dev/shm" for c in pod.containers for m in c["volumeMounts"]), pod.owner


def test_additions_reach_the_pods_and_a_roles_own_win() -> None:
    (scenario,) = [each for each in every() if each.name == "pods"]
    for pod in scenario.pods:
        assert pod.labels["cost"] == "shop"
        assert pod.annotations["example.com/scrape"] == "false"
        assert pod.spec["priorityClassName"] == "high"
        assert pod.spec["runtimeClassName"] == "gvisor"
        assert pod.volumes["certificates"]["configMap"] == {"name": "certificates"}
        main = pod.containers[0]
        assert {"name": "HTTPS_PROXY", "value": "http://proxy:3128"} in main["env"]
        assert {"configMapRef": {"name": "site"}} in main["envFrom"]
        assert any(mount["mountPath"] == "/etc/site" for mount in main["volumeMounts"])
        (spread,) = pod.spec["topologySpreadConstraints"]
        assert pod.has(spread["labelSelector"]["matchLabels"])
    ranker = scenario.pod("ranker").spec
    assert ranker["nodeSelector"] == {"kubernetes.io/arch": "amd64", "disk": "fast"}
    assert ranker["tolerations"] == [{"operator": "Exists"}]
    assert "nodeAffinity" in ranker["affinity"]
    assert scenario.pod("transformer").spec["tolerations"][0]["key"] == "dedicated"


def _claims(scenario: Scenario, pod: Pod) -> list[Object]:
    kind, _, name = pod.owner.partition("/")
    return list(scenario.one(kind, name)["spec"].get("volumeClaimTemplates", [])) if kind == "StatefulSet" else []
