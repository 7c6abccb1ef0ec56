"""The command that makes a release serve a bundle, and who owns the fields that a promotion has changed."""

import shlex
from typing import Any

import pytest

from charts.tooling.render import parse, render
from serving.rollout.kubernetes.api import MANAGER
from serving.rollout.kubernetes.ownership import handed_over
from serving.rollout.kubernetes.values import claims, helm_command, storage_uri, uri_of

MOUNTED = {"/mnt/store": "models"}
DIGEST = "@sha256:" + "a" * 64


def settings(bundle: str, secret: str = "", **others: str) -> list[str]:
    """What the command sets, as helm gets it from a shell."""
    words = shlex.split(helm_command("sightline", "shop", bundle, MOUNTED, secret=secret, others=others))
    assert words[:6] == ["helm", "upgrade", "sightline", "charts/sightline", "--namespace", "shop"]
    assert words[6] == "--reset-then-reuse-values"
    assert set(words[7::2]) == {"--set"}
    return words[8::2]


def fetched_by(settings: list[str]) -> set[str]:
    """What a release with these settings fetches."""
    pods = [
        each["spec"]["template"]["spec"] for each in parse(render(settings=settings)) if each["kind"] == "Deployment"
    ]
    fetching = [each for pod in pods for each in pod.get("initContainers") or () if each["name"] == "fetch-bundle"]
    return {each["args"][0] for each in fetching}


@pytest.mark.parametrize("bundle", ["s3://models/ranker/8", f"s3://models/ranker/8{DIGEST}", "/mnt/store/ranker/8"])
def test_the_command_makes_the_chart_fetch_the_bundle(bundle: str) -> None:
    assert fetched_by(settings(bundle, "keys")) == {bundle}


def test_a_bucket_is_opened_with_the_candidates_credentials_and_a_claim_with_none() -> None:
    assert "model.credentialsSecret=keys" in settings("s3://models/ranker/8", "keys")
    assert settings("/mnt/store/ranker/8", "keys") == ["model.source=store", "model.uri=pvc://models/ranker/8"]


def test_the_demos_own_bundle_is_the_demo() -> None:
    given = settings("/opt/sightline/demo/bundles/ranker", "keys")
    assert given[:2] == ["model.source=demo", "model.uri="]
    assert fetched_by(given) == set()


@pytest.mark.parametrize("bundle", ["/opt/sightline/demo/bundles/ranker-ids", "/mnt/elsewhere/ranker/8"])
def test_what_no_values_can_name_is_no_command(bundle: str) -> None:
    told = helm_command("sightline", "shop", bundle, MOUNTED, secret="")
    assert told.startswith(f"the chart's values cannot name {bundle}")
    assert "helm" not in told


def test_values_come_through_shell_and_helm() -> None:
    assert settings("s3://models/a b,c", name="it's") == [
        "model.source=store",
        "model.uri=s3://models/a b\\,c",
        "name=it's",
    ]


def test_kserve_is_told_of_a_claim_by_its_name() -> None:
    assert storage_uri("/mnt/store/ranker/8", MOUNTED) == "pvc://models/ranker/8/repository"
    assert storage_uri(f"s3://models/ranker/8/{DIGEST}", {}) == "s3://models/ranker/8/repository"
    assert uri_of("/mnt/stores/8", MOUNTED) == "/mnt/stores/8"


def test_claims_are_found_where_a_pod_mounts_them() -> None:
    pod = {
        "volumes": [{"name": "store", "persistentVolumeClaim": {"claimName": "models"}}, {"name": "t", "emptyDir": {}}],
        "initContainers": [{"volumeMounts": [{"name": "store", "mountPath": "/mnt/store/"}]}],
        "containers": [{"volumeMounts": [{"name": "t", "mountPath": "/tmp"}]}],
    }
    assert claims(pod) == MOUNTED
    assert claims({}) == {}


def entry(manager: str, fields: dict[str, Any], operation: str = "Update", **more: str) -> dict[str, Any]:
    return {"manager": manager, "operation": operation, "fieldsV1": fields, **more}


def test_fields_go_to_whoever_applies_the_object() -> None:
    helm = {"f:metadata": {"f:labels": {}}, "f:spec": {"f:a": {}, "f:list": {'k:{"name":"x"}': {".": {}, "f:y": {}}}}}
    status = entry("kserve", {"f:status": {}}, subresource="status")
    ours = {"f:spec": {"f:b": {}, "f:a": {"f:c": {}}, "f:list": {'k:{"name":"x"}': {"f:z": {}}}}}
    managed = [entry("helm", helm, "Apply"), status, entry(MANAGER, ours)]
    given = {"f:a": {".": {}, "f:c": {}}, "f:b": {}, "f:list": {'k:{"name":"x"}': {".": {}, "f:y": {}, "f:z": {}}}}
    assert handed_over(managed) == [
        entry("helm", {"f:metadata": {"f:labels": {}}, "f:spec": given}, "Apply"),
        status,
    ]


def test_a_canary_is_given_to_nobody_and_what_nobody_applies_neither() -> None:
    """Helm 3 and `kubectl create` apply nothing."""
    helm = entry("helm", {"f:spec": {"f:a": {}}}, "Apply")
    assert handed_over([helm, entry(MANAGER, {"f:spec": {"f:canary": {}}})]) == [helm]
    older = entry("helm", {"f:spec": {"f:a": {}}})
    assert handed_over([older, entry(MANAGER, {"f:spec": {"f:b": {}}})]) == [older]
    assert handed_over([entry(MANAGER, {"f:spec": {"f:b": {}}})]) == [{}]
    assert handed_over([helm, older]) is None
    assert handed_over([]) is None
