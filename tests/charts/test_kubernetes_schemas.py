"""Every rendered object against the schemas of the API server that reads it; an unknown field is an error."""

import json
import os
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from jsonschema_rs import Draft202012Validator, Registry
from scenario import ROOT, every

from charts.tooling.manifests import MANIFESTS
from charts.tooling.render import LOADER, Object, parse

SCHEMAS = Path(kubernetes_validate.__file__).parent / "kubernetes-json-schema"
VERSIONS = [f"1.{minor}" for minor in range(29, 37)]
CRDS = Path(os.environ.get("CRDS", ROOT.parent / "shared" / "crds"))
# Core kinds have no dot in the group, or a k8s.io one that the API server itself serves.
CUSTOM = {
    "Certificate",
    "GRPCRoute",
    "HTTPRoute",
    "InferenceService",
    "PodMonitor",
    "PrometheusRule",
    "RayService",
    "ServingRuntime",
}
# Not among the files that we validate against: of the Gateway API's standard channel, and cert-manager's (test_tls.py).
WITHOUT_SCHEMA = {"Certificate", "GRPCRoute"}


@cache
def objects() -> dict[str, Object]:
    """Every different object of all scenarios and manifests, by its text."""
    rendered = [each for scenario in every() for each in scenario.objects]
    files = [path for folder in MANIFESTS for path in sorted(folder.glob("*.yaml")) if path.stem != "kustomization"]
    written = [each for path in files for each in parse(path.read_text())]
    assert len(files) > 12
    return {json.dumps(each, sort_keys=True): each for each in (*rendered, *written)}


@cache
def definitions(version: str) -> Registry:
    text = (SCHEMAS / f"v{version}.0-local-strict" / "_definitions.json").read_text()
    return Registry([("_definitions.json", json.loads(text))])


@cache
def kubernetes_validator(version: str, kind: str, api: str) -> Draft202012Validator:
    group = api.split("/")[0].split(".")[0] + "-" + api.split("/")[1] if "/" in api else api
    file = SCHEMAS / f"v{version}.0-local-strict" / f"{kind.lower()}-{group}.json"
    return Draft202012Validator(json.loads(file.read_text()), registry=definitions(version))


def faults(validator: Draft202012Validator, each: Object) -> Iterator[str]:
    where = f"{each['kind']}/{each['metadata'].get('name', '')}"
    for error in validator.iter_errors(each):
        yield f"{where} {'.'.join(map(str, error.instance_path))}: {error.message[:200]}"


def test_the_sweep_covers_every_kind_that_the_chart_makes() -> None:
    kinds = {each["kind"] for each in objects().values()}
    assert len(objects()) > 250
    assert kinds == CUSTOM | {
        *("ConfigMap", "Secret", "Service", "ServiceAccount", "PersistentVolumeClaim", "Namespace", "Pod"),
        *("Deployment", "StatefulSet", "Job", "CronJob", "HorizontalPodAutoscaler", "PodDisruptionBudget"),
        *("NetworkPolicy", "Ingress", "CustomResourceDefinition", "Role", "RoleBinding"),
    }


@pytest.mark.parametrize("version", VERSIONS)
def test_kubernetes_kinds_are_valid(version: str) -> None:
    core = [each for each in objects().values() if each["kind"] not in CUSTOM]
    found = [
        fault
        for each in core
        for fault in faults(kubernetes_validator(version, each["kind"], each["apiVersion"]), each)
    ]
    assert found == []


def test_kubernetes_schemas_refuse_an_unknown_field() -> None:
    validator = kubernetes_validator("1.36", "Deployment", "apps/v1")
    deployment = next(each for each in objects().values() if each["kind"] == "Deployment")
    wrong = {**deployment, "spec": {**deployment["spec"], "replica": 1}}
    assert any("replica" in fault for fault in faults(validator, wrong))


@cache
def custom_validators() -> dict[tuple[str, str], Draft202012Validator]:
    if not CRDS.is_dir():
        pytest.skip(f"{CRDS} is not there: put the operators' CustomResourceDefinitions in a folder, name it in CRDS")
    known = {}
    for file in sorted(CRDS.glob("*.yaml")):
        spec = yaml.load(file.read_text(), Loader=LOADER)["spec"]
        for version in spec["versions"]:
            schema = closed(version["schema"]["openAPIV3Schema"], top=True)
            key = (spec["names"]["kind"], f"{spec['group']}/{version['name']}")
            known[key] = Draft202012Validator(schema)
    return known


def closed(schema: Any, top: bool = False) -> Any:
    """A structural schema as JSON schema: the API server drops (strict clients refuse) what it does not name."""
    if schema.get("x-kubernetes-int-or-string"):
        return {"type": ["integer", "string"]}
    result = {key: value for key, value in schema.items() if not key.startswith("x-") and key != "format"}
    if "properties" in schema:
        result["properties"] = {name: closed(part) for name, part in schema["properties"].items()}
        if top:
            result["properties"]["metadata"] = {"type": "object"}
        if not schema.get("x-kubernetes-preserve-unknown-fields"):
            result["additionalProperties"] = False
    if "items" in schema:
        result["items"] = closed(schema["items"])
    if isinstance(schema.get("additionalProperties"), dict):
        result["additionalProperties"] = closed(schema["additionalProperties"])
    return result


@pytest.mark.parametrize("kind", sorted(CUSTOM - WITHOUT_SCHEMA))
def test_custom_kinds_are_valid(kind: str) -> None:
    mine = [each for each in objects().values() if each["kind"] == kind]
    assert mine != []
    assert [f for each in mine for f in faults(custom_validators()[kind, each["apiVersion"]], each)] == []


def test_custom_schemas_refuse_an_unknown_field_at_depth() -> None:
    service = next(each for each in objects().values() if each["kind"] == "RayService")
    wrong = json.loads(json.dumps(service))
    wrong["spec"]["rayClusterConfig"]["headGroupSpec"]["template"]["spec"]["containers"][0]["resorces"] = {}
    wrong["spec"]["serveConfig"] = "typo"
    found = " ".join(faults(custom_validators()["RayService", "ray.io/v1"], wrong))
    assert "resorces" in found
    assert "serveConfig" in found
