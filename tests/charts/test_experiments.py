"""Experiments as the chart installs them: rights, the assignment, the pseudonyms, and what a promotion leaves."""

import base64
import json
import re
from typing import Any

import pytest
import yaml
from scenario import Scenario, every, load

from charts.tooling.pods import Pod, pods_of
from charts.tooling.render import Object, parse, render
from charts.tooling.values import CHART
from models.experiments.events import KEY_BYTES, KEY_VARIABLE
from serving.rollout.collector.rights import LEAST_CHARACTERS, Right

ON = "experiments.enabled=true"
STORE = ("model.source=store", "model.uri=s3://models/ranker/8")
KSERVE = ("ranker.mode=inferenceservice", "ranker.inferenceService.storage=kserve")
WITH_EXPERIMENTS = [
    each for each in every() if each.name.startswith("experiments") or each.name == "profile-production"
]

with_experiments = pytest.mark.parametrize("given", WITH_EXPERIMENTS, ids=[each.name for each in WITH_EXPERIMENTS])


def rendered(*settings: str) -> list[Object]:
    return parse(render(settings=settings))


def one(objects: list[Object], kind: str, name: str) -> Object:
    (found,) = [each for each in objects if each["kind"] == kind and each["metadata"]["name"] == name]
    return found


def main_container(pod: Pod) -> Object:
    return pod.containers[0]


def rights(objects: list[Object], role: str) -> set[tuple[str, str, str]]:
    """(resource, its name or *, verb) of a Role."""
    return {
        (resource, name, verb)
        for rule in one(objects, "Role", role)["rules"]
        for resource in rule["resources"]
        for name in rule.get("resourceNames", ["*"])
        for verb in rule["verbs"]
    }


def test_without_experiments_nothing_of_them_is_there() -> None:
    for scenario in (load("defaults"), load("kserve"), load("profile-kind")):
        assert "sightline.dev" not in scenario.text
        assert "--assignments" not in scenario.text
        assert scenario.kind("Role", "RoleBinding", "CustomResourceDefinition") == []


def test_an_upgrade_never_touches_the_assignment_that_the_controller_writes() -> None:
    """What a manifest does not name, helm's three-way merge and server-side apply leave alone."""
    book = one(load("experiments").objects, "ConfigMap", "sightline-assignments")
    assert book.keys() == {"apiVersion", "kind", "metadata"}


def test_a_transformer_may_read_one_configmap_and_nothing_else() -> None:
    scenario = load("experiments")
    assert rights(scenario.objects, "sightline-assignments") == {("configmaps", "sightline-assignments", "get")}
    binding = scenario.one("RoleBinding", "sightline-assignments")
    assert [(each["name"], each["namespace"]) for each in binding["subjects"]] == [
        ("sightline-transformer", "sightline")
    ]
    assert scenario.pod("transformer").spec["automountServiceAccountToken"] is True


@pytest.mark.parametrize("name", ["experiments-mounted", "experiments-redis"])
def test_a_transformer_that_does_not_ask_the_api_has_no_token(name: str) -> None:
    scenario = load(name)
    assert scenario.pod("transformer").spec["automountServiceAccountToken"] is False
    assert [each["metadata"]["name"] for each in scenario.kind("Role")] == ["sightline-controller"]


def test_a_mounted_assignment_is_a_whole_folder_since_a_subpath_never_changes() -> None:
    scenario = load("experiments-mounted")
    pod = scenario.pod("transformer")
    assert pod.volumes["assignments"]["configMap"] == {"name": "sightline-assignments"}
    (mount,) = [each for each in main_container(pod)["volumeMounts"] if each["name"] == "assignments"]
    assert mount == {"name": "assignments", "mountPath": "/etc/sightline/assignments", "readOnly": True}
    assert "--assignments=/etc/sightline/assignments/book.json" in main_container(pod)["args"]


CANDIDATES = {("services", "*", verb) for verb in ("get", "list", "create", "patch", "delete")} | {
    ("pods", "*", "list")
}
OWN = {
    *(("experiments", "*", verb) for verb in ("get", "list", "watch", "patch")),
    ("experiments/status", "*", "update"),
    ("events", "*", "create"),
    ("leases", "*", "create"),
    ("leases", "sightline-controller", "get"),
    ("leases", "sightline-controller", "update"),
}
BOOK = {("configmaps", "sightline-assignments", verb) for verb in ("get", "update")}
DEPLOYMENTS = {("deployments", "*", verb) for verb in ("get", "create", "patch", "delete")}


def test_the_controller_has_the_rights_that_its_mode_needs() -> None:
    found = rights(load("experiments").objects, "sightline-controller")
    assert found == CANDIDATES | OWN | BOOK | DEPLOYMENTS | {("secrets", "slack", "get")}
    found = rights(load("experiments-kserve").objects, "sightline-controller")
    services = {("inferenceservices", "sightline-ranker", verb) for verb in ("get", "patch")}
    assert found == CANDIDATES | OWN | BOOK | services | {("deployments", "*", "get")}
    assert not rights(load("experiments-redis").objects, "sightline-controller") & BOOK


def test_the_verdict_service_may_only_read_experiments() -> None:
    assert rights(load("experiments").objects, "sightline-verdict") == {
        ("experiments", "*", "get"),
        ("experiments", "*", "list"),
    }


def test_what_the_operator_says_it_must_be_allowed_is_what_it_is_allowed() -> None:
    """The table of serving/rollout/operator/README.md, over both modes and every address of the assignment."""
    text = (CHART.parents[1] / "serving" / "rollout" / "operator" / "README.md").read_text()
    lines = re.findall(r'^\| (?:""|[a-z.0-9]+) \| ([a-z/]+) \| ([a-z, ]+) \| ', text, re.MULTILINE)
    wanted = {(resource, verb) for resource, verbs in lines for verb in verbs.split(", ")}
    assert ("deployments", "create") in wanted
    granted = set()
    for name in ("experiments", "experiments-kserve"):
        found = rights(load(name).objects, "sightline-controller")
        granted |= {(resource, verb) for resource, _, verb in found}
    leases = {("leases", verb) for verb in ("get", "create", "update")}
    made_by_the_chart = {("configmaps", "create")}
    assert granted == (wanted | leases) - made_by_the_chart


@with_experiments
def test_roles_are_bound_to_an_account_of_their_own(given: Scenario) -> None:
    roles = {each["metadata"]["name"] for each in given.kind("Role")}
    bindings = {each["roleRef"]["name"]: each["subjects"] for each in given.kind("RoleBinding")}
    assert bindings.keys() == roles
    accounts = {each["metadata"]["name"] for each in given.kind("ServiceAccount")}
    for subjects in bindings.values():
        assert [each["kind"] for each in subjects] == ["ServiceAccount"]
        assert {each["name"] for each in subjects} <= accounts


@with_experiments
def test_transformers_and_collector_make_the_same_pseudonyms(given: Scenario) -> None:
    """Under another key every user would be somebody else, and no outcome would meet its exposure."""
    refs = {}
    for pod in given.pods:
        env = {
            each["name"]: each.get("valueFrom", {}).get("secretKeyRef") for each in main_container(pod).get("env", [])
        }
        if KEY_VARIABLE in env:
            refs[pod.component] = env[KEY_VARIABLE]
    collected = {pod.component for pod in given.pods} & {"collector"}
    assert refs.keys() == {"transformer"} | collected
    assert len({str(each) for each in refs.values()}) == 1


def test_the_generated_key_is_long_enough_and_another_one_in_every_installation() -> None:
    keys = [base64.b64decode(one(rendered(ON), "Secret", "sightline-pseudonyms")["data"]["key"]) for _ in range(2)]
    assert keys[0] != keys[1]
    assert all(len(key) >= KEY_BYTES for key in keys)
    assert "lookup" in (CHART / "templates" / "experiments" / "pseudonyms.yaml").read_text()
    named = load("experiments-mounted")
    secrets = [each["metadata"]["name"] for each in named.kind("Secret")]
    assert sorted(secrets) == ["sightline-collector-tokens", "sightline-items"]


def test_a_token_for_each_right_is_made_and_is_another_one_in_every_installation() -> None:
    """Without any value of the user's: an empty token was how false outcomes decided an experiment."""
    made = [one(rendered(ON), "Secret", "sightline-collector-tokens")["data"] for _ in range(2)]
    assert made[0].keys() == made[1].keys() == {*Right, "inference", "arm"}
    tokens = [base64.b64decode(token) for each in made for token in each.values()]
    assert len(set(tokens)) == 2 * len(made[0])
    assert all(len(token) >= LEAST_CHARACTERS for token in tokens)
    assert "lookup" in (CHART / "templates" / "experiments" / "collector-tokens.yaml").read_text()


def test_the_key_of_who_may_name_an_arm_is_the_transformers_alone_and_may_be_the_users_own() -> None:
    def named(*settings: str) -> dict[str, Any]:
        """What each Deployment and StatefulSet has as SIGHTLINE_ARM_KEY."""
        found: dict[str, Any] = {}
        for each in rendered(*settings):
            for container in each.get("spec", {}).get("template", {}).get("spec", {}).get("containers", ()):
                for entry in container.get("env", ()):
                    if entry["name"] == "SIGHTLINE_ARM_KEY":
                        assert each["metadata"]["name"] not in found, "once"
                        found[each["metadata"]["name"]] = entry.get("value") or entry["valueFrom"]["secretKeyRef"]
        return found

    made = {"name": "sightline-collector-tokens", "key": "arm", "optional": True}
    assert named(ON) == {"sightline-transformer": made}
    assert named() == {}
    own = [f"transformer.pod.env[0].{field}" for field in ("name=SIGHTLINE_ARM_KEY", "value=a key of the user's own")]
    assert named(ON, *own) == {"sightline-transformer": "a key of the user's own"}


@with_experiments
def test_each_pod_has_the_token_of_its_own_right_and_the_collector_all(given: Scenario) -> None:
    found: dict[str, set[tuple[str, str]]] = {}
    for pod in given.pods:
        for container in (*pod.spec.get("initContainers", ()), *pod.spec["containers"]):
            for each in container.get("env", []):
                if each["name"].startswith("SIGHTLINE_COLLECTOR"):
                    key = each["valueFrom"]["secretKeyRef"]["key"]
                    found.setdefault(pod.component, set()).add((each["name"], key))
    if "collector" not in {pod.component for pod in given.pods}:
        assert found == {}
        return
    assert found.pop("collector") == {(right.variable, right.value) for right in Right}
    assert found == {
        "transformer": {("SIGHTLINE_COLLECTOR_TOKEN", "exposures")},
        "controller": {("SIGHTLINE_COLLECTOR_TOKEN", "evidence")},
    }


def test_a_collector_elsewhere_is_sent_no_token_that_was_made_here() -> None:
    elsewhere = (ON, "experiments.exposures.url=http://collector.other:8090/v1/exposures")
    for more, tokens in ((), 0), (("experiments.collector.tokens.existingSecret=theirs",), 1):
        (transformer,) = (pod for pod in pods_of(rendered(*elsewhere, *more)) if pod.component == "transformer")
        names = [each["name"] for each in main_container(transformer)["env"]]
        assert names.count("SIGHTLINE_COLLECTOR_TOKEN") == tokens


def test_the_definition_is_the_generated_one_and_outlives_the_release() -> None:
    definition = load("experiments").one("CustomResourceDefinition", "experiments.sightline.dev")
    written = yaml.safe_load((CHART / "files" / "experiments-crd.yaml").read_text())
    assert definition["spec"] == written["spec"]
    assert definition["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"
    assert load("experiments-redis").kind("CustomResourceDefinition") == []


def test_events_survive_on_a_claim_that_uninstalling_leaves() -> None:
    collector = load("experiments-mounted").one("StatefulSet", "sightline-collector")["spec"]
    (claim,) = collector["volumeClaimTemplates"]
    assert claim["spec"]["storageClassName"] == "fast"
    assert collector["persistentVolumeClaimRetentionPolicy"] == {"whenDeleted": "Retain", "whenScaled": "Retain"}
    assert collector["replicas"] == 1


def test_the_collector_has_time_for_its_requests_when_it_ends() -> None:
    assert load("experiments").pod("collector").spec["terminationGracePeriodSeconds"] == 20
    assert load("experiments-kserve").pod("collector").spec["terminationGracePeriodSeconds"] == 35


@pytest.mark.parametrize("role", ["transformer", "controller"])
def test_those_who_open_candidates_have_the_stores_credentials(role: str) -> None:
    secrets = main_container(load("experiments").pod(role))["envFrom"]
    assert {"secretRef": {"name": "s3"}} in secrets
    claimed = load("experiments-mounted").pod(role)
    assert claimed.volumes["store"] == {
        "name": "store",
        "persistentVolumeClaim": {"claimName": "models", "readOnly": True},
    }
    assert {"name": "store", "mountPath": "/mnt/store", "readOnly": True} in main_container(claimed)["volumeMounts"]


def test_a_candidate_that_is_fetched_finds_the_container_that_fetches() -> None:
    """The controller puts the candidate's URI where the bundle is: the first argument of `sightline models fetch`."""
    for settings in (STORE, (*STORE, *KSERVE)):
        pods = [pod for pod in pods_of(rendered(ON, *settings)) if pod.component == "transformer"]
        (fetch,) = pods[0].spec["initContainers"]
        assert fetch["name"] == "fetch-bundle"
        assert fetch["command"] == ["sightline", "models", "fetch"]
        assert fetch["args"][0] == "s3://models/ranker/8"
        assert all(each.startswith("--") for each in fetch["args"][1:])


def promoted(objects: list[Object], uri: str) -> Any:
    """What a promotion changes of Deployments: the URI that their pods fetch."""
    changed = json.loads(json.dumps(objects))
    for each in changed:
        if each["kind"] == "Deployment" and each["metadata"]["name"] in {"sightline-ranker", "sightline-transformer"}:
            (fetch,) = each["spec"]["template"]["spec"]["initContainers"]
            fetch["args"][0] = uri
    return changed


def fetched(objects: list[Object]) -> dict[str, list[str]]:
    return {pod.component: c["args"] for pod in pods_of(objects) for c in pod.spec.get("initContainers", [])}


def test_an_upgrade_with_the_promoted_uri_lands_on_what_the_promotion_made() -> None:
    before = rendered(ON, *STORE)
    after = rendered(ON, "model.source=store", "model.uri=s3://models/ranker/9")
    assert fetched(promoted(before, "s3://models/ranker/9")) == fetched(after)
    assert fetched(before) != fetched(after)


def test_an_upgrade_after_kserves_promotion_keeps_the_promoted_predictors_name() -> None:
    scenario = load("experiments-kserve")
    (service,) = scenario.kind("InferenceService")
    assert service["spec"]["predictor"]["name"] == "captions"
    assert service["spec"]["predictor"]["model"]["storageUri"] == "s3://models/ranker/8/repository"
    (headless,) = [
        each for each in scenario.kind("Service") if each["metadata"]["name"].startswith("sightline-ranker-headless-")
    ]
    assert headless["spec"]["selector"]["app"] == "isvc.sightline-ranker-captions-predictor"
    assert (
        "--ranker-http=http://sightline-ranker-captions-predictor:8080" in main_container(scenario.pod("test"))["args"]
    )
    plain = rendered(ON, *STORE, *KSERVE)
    assert "name" not in one(plain, "InferenceService", "sightline-ranker")["spec"]["predictor"]


def test_an_experiment_switched_on_restarts_the_transformers_alone() -> None:
    def pods(*settings: str) -> dict[str, str]:
        return {pod.component: json.dumps(pod.spec) for pod in pods_of(rendered(*settings))}

    before, after = pods(), pods(ON)
    assert {name for name in before if before[name] != after[name]} == {"transformer"}
    assert after.keys() - before.keys() == {"collector", "controller"}
