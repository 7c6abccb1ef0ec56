"""What a site sets for its pods beyond scheduling: users, hosts, sidecars, and variables that replace the chart's."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from scenario import FILES, load

from charts.tooling.pods import Pod, pods_of
from charts.tooling.render import RenderError, parse, render

SITES = ("site", "site-operators")


def variables(container: Any) -> dict[str, Any]:
    found = {each["name"]: each.get("value") for each in container.get("env", [])}
    assert len(found) == len(container.get("env", [])), f"a variable of {container['name']} is there twice"
    return found


def pods(tmp_path: Path, values: str, *files: str) -> list[Pod]:
    file = tmp_path / "values.yaml"
    file.write_text(values)
    return pods_of(parse(render([*(FILES[name] for name in files), file])))


@pytest.mark.parametrize("name", SITES)
def test_what_a_site_adds_reaches_every_pod(name: str) -> None:
    for pod in load(name).pods:
        assert pod.spec["hostAliases"] == [{"ip": "10.1.2.3", "hostnames": ["store.internal"]}], pod.owner
        assert {"name": "ndots", "value": "2"} in pod.spec["dnsConfig"]["options"], pod.owner
        assert [each["name"] for each in pod.spec["initContainers"]][-1] == "audit", pod.owner
        assert "registry" in [each["name"] for each in pod.spec["imagePullSecrets"]], pod.owner
        context = pod.spec["securityContext"]
        assert not {"runAsUser", "runAsGroup", "fsGroup"} & context.keys(), pod.owner
        assert context["runAsNonRoot"] is True


def test_both_forms_of_pull_secrets_are_taken() -> None:
    assert all(pod.spec["imagePullSecrets"] == [{"name": "registry"}, {"name": "mirror"}] for pod in load("site").pods)


def test_a_role_has_its_own_over_everybodys() -> None:
    site = load("site")
    assert site.pod("transformer").spec["dnsPolicy"] == "Default"
    assert site.pod("transformer").containers[0]["securityContext"]["runAsUser"] == 4000
    assert site.pod("ranker").spec["dnsPolicy"] == "None"
    assert "runAsUser" not in site.pod("ranker").containers[0]["securityContext"]


def test_a_null_of_a_role_takes_the_chart_s_value_away(tmp_path: Path) -> None:
    found = pods(
        tmp_path, "ranker: {pod: {podSecurityContext: {runAsUser: null}, securityContext: {capabilities: null}}}"
    )
    (ranker,) = [pod for pod in found if pod.component == "ranker"]
    (items,) = [pod for pod in found if pod.component == "items"]
    assert "runAsUser" not in ranker.spec["securityContext"]
    assert "capabilities" not in ranker.containers[0]["securityContext"]
    assert items.spec["securityContext"]["runAsUser"] == 10001
    assert items.containers[0]["securityContext"]["capabilities"] == {"drop": ["ALL"]}


def test_what_fetches_the_model_has_the_role_s_environment_mounts_and_resources_of_its_own() -> None:
    for component in ("transformer", "ranker"):
        pod = load("site").pod(component)
        fetching = pod.spec["initContainers"][0]
        assert fetching["name"] == "fetch-bundle"
        assert variables(fetching)["HTTPS_PROXY"] == "http://proxy:3128"
        assert {"configMapRef": {"name": "site"}} in fetching["envFrom"]
        assert "/etc/site" in {mount["mountPath"] for mount in fetching["volumeMounts"]}
        assert fetching["resources"]["limits"] == {"cpu": "500m", "memory": "256Mi"}
    user = load("site").pod("transformer").spec["initContainers"][0]["securityContext"]["runAsUser"]
    assert user == 4000, "as the container beside which it writes"


def test_a_variable_of_the_site_stands_in_the_place_of_the_chart_s(tmp_path: Path) -> None:
    assert variables(load("site").pod("captioner").containers[0])["HOME"] == "/scratch"
    for scenario in SITES:
        for pod in load(scenario).pods:
            for container in pod.all_containers:
                variables(container)
    secret = "{name: mine, key: password}"
    names = ("SIGHTLINE_PSEUDONYM_KEY", "SIGHTLINE_COLLECTOR_TOKEN", "SIGHTLINE_ARM_KEY")
    own = ", ".join(f"{{name: {name}, valueFrom: {{secretKeyRef: {secret}}}}}" for name in names)
    values = f"experiments: {{enabled: true}}\ntransformer: {{pod: {{env: [{own}]}}}}"
    (transformer,) = [pod for pod in pods(tmp_path, values) if pod.component == "transformer"]
    by_name = {each["name"]: each for each in transformer.containers[0]["env"]}
    assert len(by_name) == len(transformer.containers[0]["env"])
    assert {by_name[name]["valueFrom"]["secretKeyRef"]["name"] for name in names} == {"mine"}


@pytest.mark.parametrize(
    ("resource", "told"),
    [("nvidia.com/gpu", "1"), ("nvidia.com/gpu.shared", "1"), ("nvidia.com/mig-1g.5gb", "1"), ("amd.com/gpu", "1")],
)
def test_ray_is_told_of_gpus_by_every_name(tmp_path: Path, resource: str, told: str) -> None:
    values = (
        f"captioner: {{rayService: {{gpuWorkers: {{resources: {{limits: {{nvidia.com/gpu: null, {resource}: 1}}}}}}}}}}"
    )
    if resource == "nvidia.com/gpu":
        values = "{}"
    file = tmp_path / "values.yaml"
    file.write_text(values)
    (service,) = [each for each in parse(render([FILES["rayservice-gpu"], file])) if each["kind"] == "RayService"]
    (group,) = service["spec"]["rayClusterConfig"]["workerGroupSpecs"]
    assert group["rayStartParams"] == {"num-gpus": told}


def test_a_job_s_gpus_go_by_the_name_that_its_limits_have(tmp_path: Path) -> None:
    recipe = "{inline: 'training: {device: cuda}'}"
    head = f"images: {{trainer: {{tagSuffix: -cuda}}}}\njobs: {{store: {{uri: 's3://m'}}, recipe: {recipe}, train: "
    named = pods(tmp_path, head + "{enabled: true, gpus: 1, resources: {limits: {nvidia.com/mig-1g.5gb: 1}}}}")
    (train,) = [pod for pod in named if pod.component == "train"]
    limits = train.containers[0]["resources"]["limits"]
    assert (limits.get("nvidia.com/mig-1g.5gb"), limits.get("nvidia.com/gpu")) == (1, None)
    usual = pods(tmp_path, head + "{enabled: true, gpus: 1}}")
    (train,) = [pod for pod in usual if pod.component == "train"]
    assert train.containers[0]["resources"]["limits"]["nvidia.com/gpu"] == 1


def test_as_a_part_of_another_chart_it_has_a_condition(tmp_path: Path) -> None:
    with pytest.raises(RenderError, match=r"- enabled: it is false, which is for a chart that has this one as a part"):
        render(settings=["enabled=false"])


@pytest.mark.parametrize(("name", "level"), [("site", "warning"), ("site-operators", "debug")])
def test_every_program_is_told_what_to_log(name: str, level: str) -> None:
    for pod in load(name).pods:
        for container in pod.all_containers:
            if container["name"] != "audit":
                found = variables(container)
                assert (found["SIGHTLINE_LOG_LEVEL"], found["SIGHTLINE_LOG_FORMAT"]) == (level, "json"), pod.owner


def test_triton_and_ray_are_told_by_settings_of_their_own() -> None:
    operators = load("site-operators")
    assert "--log-verbose=1" in operators.pod("ranker").containers[0]["args"]
    (service,) = operators.kind("RayService")
    assert yaml.safe_load(service["spec"]["serveConfigV2"])["logging_config"] == {
        "enable_access_log": False,
        "log_level": "DEBUG",
        "encoding": "JSON",
    }
    usual = {variable for pod in load("defaults").pods for each in pod.all_containers for variable in variables(each)}
    assert not {"SIGHTLINE_LOG_LEVEL", "SIGHTLINE_LOG_FORMAT"} & usual


def test_who_reads_and_who_writes_users_have_the_same_key() -> None:
    keys = {}
    for pod in load("site").pods:
        for container in pod.containers:
            for each in container.get("env", []):
                if each["name"] == "SIGHTLINE_STORE_USER_KEY":
                    keys[pod.component] = each["valueFrom"]["secretKeyRef"]
    assert keys.keys() == {"transformer", "bootstrap"}
    assert {str(sorted(each.items())) for each in keys.values()} == {"[('key', 'key'), ('name', 'users')]"}
