"""The CustomResourceDefinition: valid for the API server, the same as the classes, strict where they are."""

import copy
import json
import re
from collections.abc import Iterator
from functools import cache
from typing import Any

import jsonschema_rs
import kube_schema
import kubernetes_validate
import pytest
import shop
import yaml
from operator_readme import ROOT
from pydantic import BaseModel, ValidationError

from serving.rollout.experiment.spec import ExperimentSpec
from serving.rollout.operator import crd
from serving.rollout.operator.rules import rules
from serving.rollout.operator.structural import SchemaError, structural
from serving.rollout.report.resource import ResourceError, read
from tests.operator.wrong_specs import WRONG, example

FILE = ROOT / "charts" / "sightline" / "files" / "experiments-crd.yaml"
SCHEMA = crd.definition()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
ALLOWED = {
    *("type", "description", "default", "enum", "format", "pattern", "nullable", "properties", "required", "items"),
    *("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "minLength", "maxLength", "minItems", "maxItems"),
    *("additionalProperties", "x-kubernetes-validations", "x-kubernetes-list-type", "x-kubernetes-list-map-keys"),
}
RULES = rules()
LONG = {**shop.experiment("captions", "s3://models/ranker/2", "http://x:1"), "metadata": {"name": "captions"}}


def parts(schema: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    yield path, schema
    for name, each in schema.get("properties", {}).items():
        yield from parts(each, f"{path}.{name}")
    if "items" in schema:
        yield from parts(schema["items"], f"{path}[]")
    if isinstance(schema.get("additionalProperties"), dict):
        yield from parts(schema["additionalProperties"], f"{path}{{}}")


def test_the_file_is_what_the_classes_say() -> None:
    """`python -m serving.rollout.operator.crd charts/sightline/files/experiments-crd.yaml` writes it."""
    assert FILE.read_text() == crd.text()
    assert yaml.safe_load(FILE.read_text()) == crd.definition()


@pytest.mark.parametrize("version", ["1.29", "1.33", "1.36"])
def test_kubernetes_takes_the_definition(version: str) -> None:
    kubernetes_validate.validate(crd.definition(), version, strict=True)


def test_the_schema_is_structural() -> None:
    """The rules of https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/."""
    found = dict(parts(SCHEMA))
    assert len(found) > 150
    for path, schema in found.items():
        assert set(schema) <= ALLOWED, path
        assert schema["type"] in ("object", "array", "string", "number", "integer", "boolean"), path
        assert not ("properties" in schema and "additionalProperties" in schema), path
        assert schema.get("additionalProperties") is not False, path
        assert ("items" in schema) == (schema["type"] == "array"), path
        assert set(schema.get("required", [])) <= set(schema.get("properties", {})), path
        for bound in ("exclusiveMinimum", "exclusiveMaximum"):
            assert schema.get(bound, True) is True, path
        if "default" in schema:
            whole = kube_schema.strict(schema)
            assert jsonschema_rs.is_valid(whole, schema["default"]), f"{path}: its default is not valid"
        if "pattern" in schema:
            assert not re.search(r"\(\?[=!<]|\\[1-9]", schema["pattern"]), f"{path}: RE2 has no such thing"
    assert set(SCHEMA["properties"]["metadata"]) == {"type"}


def test_lists_with_keys_have_them_required_and_scalar() -> None:
    keyed = {path: s for path, s in parts(SCHEMA) if s.get("x-kubernetes-list-type") == "map"}
    assert {path.rpartition(".")[2] for path in keyed} == {"secondaryMetrics", "guardrails", "conditions"}
    for schema in keyed.values():
        for key in schema["x-kubernetes-list-map-keys"]:
            assert schema["items"]["properties"][key]["type"] == "string"
            assert key in schema["items"]["required"]


def test_what_rules_look_at_is_bounded() -> None:
    """Without bounds the API server reckons the rules to be too dear and refuses the definition."""
    for path, schema in parts(SCHEMA["properties"]["spec"], "spec"):
        if schema["type"] == "string" and "enum" not in schema and "format" not in schema:
            assert schema["maxLength"] <= 32768, path
        if schema["type"] == "array":
            assert schema["maxItems"] <= 20, path


def test_every_field_says_what_it_is_or_its_type_does() -> None:
    bare = [
        p for p, s in parts(SCHEMA["properties"]["spec"], "spec") if "description" not in s and s["type"] != "object"
    ]
    assert len(bare) <= 12, bare


def test_columns_show_what_the_status_has() -> None:
    (version,) = crd.definition()["spec"]["versions"]
    columns = version["additionalPrinterColumns"]
    assert [each["name"] for each in columns if not each.get("priority")] == [
        *("Phase", "Share", "Lift", "Interval", "Verdict", "Age"),
    ]
    assert [each["name"] for each in columns if each.get("priority")] == ["Users", "Ratio p", "Reason"]
    for each in columns:
        if each["jsonPath"].startswith(".status."):
            assert each["jsonPath"].removeprefix(".status.") in SCHEMA["properties"]["status"]["properties"]
    assert version["subresources"] == {"status": {}}
    assert crd.definition()["spec"]["names"]["shortNames"] == ["exp"]


def test_an_example_is_valid_and_gets_the_defaults_of_the_classes() -> None:
    filled = kube_schema.defaulted(SCHEMA, LONG)
    validator = kube_schema.validator(crd.definition())
    assert [error.message for error in validator.iter_errors(filled)] == []
    plain, given = (ExperimentSpec.model_validate(each["spec"]) for each in (LONG, filled))
    assert given == plain


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ("spec.target.kind", "Rollout"),
        ("spec.candidate.bundle", ""),
        ("spec.candidate.replicas", 0),
        ("spec.schedule.stages", []),
        ("spec.schedule.stages", [{"share": 0}]),
        ("spec.schedule.stages", [{"share": 51}]),
        ("spec.schedule.stages", [{"share": 5, "hold": "1 h"}]),
        ("spec.primaryMetric.name", "Clicks"),
        ("spec.primaryMetric.capQuantile", 1),
        ("spec.primaryMetric.capLowerQuantile", 0.6),
        ("spec.analysis.alpha", 0),
        ("spec.analysis.method", "bayes"),
        ("spec.analysis.plannedUsers", None),
        ("spec.guardrails", [{"name": "a", "kind": "failures"}]),
        ("spec.promotion", "yes"),
        ("spec.approve", True),
        ("spec.target.kinds", "x"),
    ],
)
def test_the_schema_refuses_what_the_classes_refuse(place: str, value: Any) -> None:
    wrong = copy.deepcopy(LONG)
    target: Any = wrong
    *steps, last = place.split(".")
    for step in steps:
        target = target[step]
    if value is None:
        del target[last]
    else:
        target[last] = value
    with pytest.raises(ValidationError):
        ExperimentSpec.model_validate(wrong["spec"])
    assert not kube_schema.validator(crd.definition()).is_valid(wrong)


def test_a_model_that_no_structural_schema_can_say_is_refused() -> None:
    class Either(BaseModel):
        one: int | str

    class Mixed(BaseModel):
        pair: tuple[int, str]

    for model, field in ((Either, "one"), (Mixed, "pair")):
        with pytest.raises(SchemaError, match=field):
            structural(model)


def test_rules_name_fields_that_are_there() -> None:
    with pytest.raises(KeyError):
        crd.with_rules({"properties": {}})
    every = [rule for each in RULES.values() for rule, _ in each]
    assert len(every) > 40
    known = {path.rpartition(".")[2].rstrip("[]") for path, _ in parts(SCHEMA)} | {"metadata", "name", "matches", "all"}
    known |= {"map", "isSorted", "exists_one", "size", "contains", "sum", "endsWith", "substring"}
    for rule in every:
        words = re.sub(r"'[^']*'", "''", rule)
        assert set(re.findall(r"[a-z\])]\.([A-Za-z_]+)", words)) <= known, rule
        assert words.count("(") == words.count(")")
    for message in [message for each in RULES.values() for _, message in each]:
        assert "\n" not in message
        assert len(message) < 2048


@cache
def program_of(rule: str) -> Any:
    """Of an implementation of CEL in Python, with the functions that Kubernetes adds."""
    celpy = pytest.importorskip("celpy", reason="needs cel-python")

    def is_sorted(values: Any) -> Any:
        return celpy.celtypes.BoolType(list(values) == sorted(values))

    def substring(text: Any, start: Any, end: Any) -> Any:
        return celpy.celtypes.StringType(str(text)[int(start) : int(end)])

    def sum_of(values: Any) -> Any:
        return celpy.celtypes.DoubleType(sum(float(each) for each in values))

    environment = celpy.Environment()
    functions = {"isSorted": is_sorted, "substring": substring, "sum": sum_of}
    return environment.program(environment.compile(rule), functions=functions)


def evaluated(rule: str, **given: Any) -> bool:
    celpy = pytest.importorskip("celpy", reason="needs cel-python")
    return bool(program_of(rule).evaluate({name: celpy.json_to_cel(value) for name, value in given.items()}))


def broken(value: dict[str, Any], old: dict[str, Any] | None = None) -> list[str]:
    """Messages of the rules that the object breaks."""
    found = []
    for path, each in RULES.items():
        for value_there, old_there in zip(reached(value, path), reached(old or value, path), strict=False):
            for rule, message in each if value_there is not None else ():
                given = {"self": value_there, "oldSelf": old_there} if "oldSelf" in rule else {"self": value_there}
                if ("oldSelf" not in rule or old is not None) and not evaluated(rule, **given):
                    found.append(message)
    return found


def reached(value: Any, path: str) -> list[Any]:
    """What is at the path, of every entry of the lists on the way."""
    found = [value]
    for step in filter(None, path.split(".")):
        inner = [each.get(step.removesuffix("[]")) for each in found if each is not None]
        found = [entry for each in inner if each is not None for entry in each] if step.endswith("[]") else inner
    return found


def changed(place: str, value: Any, base: Any = None) -> dict[str, Any]:
    made: dict[str, Any] = copy.deepcopy(base or kube_schema.defaulted(SCHEMA, LONG))
    target: Any = made
    *steps, last = place.split(".")
    for step in steps:
        target = target[step]
    if value is None:
        target.pop(last)
    else:
        target[last] = value
    filled: dict[str, Any] = kube_schema.defaulted(SCHEMA, made)
    return filled


def test_the_example_breaks_no_rule() -> None:
    assert broken(changed("spec.paused", False)) == []


@pytest.mark.parametrize(
    ("place", "value", "told"),
    [
        ("metadata.name", "a" * 32, "metadata.name"),
        ("spec.target.transformer", None, "transformer names"),
        ("spec.target.kind", "InferenceService", "transformer names"),
        ("spec.schedule.stages", [{"share": 5.0}, {"share": 5.0}], "growing shares"),
        ("spec.schedule.stages", [{"share": 5.0}, {"share": 1.0}], "growing shares"),
        ("spec.evidence.collector", None, "exactly one"),
        ("spec.evidence", {"collector": "x", "sql": {"query": "x"}, "prometheus": "x"}, "exactly one"),
        ("spec.evidence.prometheus", None, "guardrails need"),
        ("spec.evidence", {"sql": {"kind": "users", "query": "x"}, "prometheus": "x"}, "kind sums takes query"),
        ("spec.primaryMetric", {"name": "m", "numerator": {"event": "e"}, "capNonzero": True}, "capNonzero needs"),
        ("spec.guardrails", [{"name": "g", "kind": "query", "limit": 1.0, "relative": False}], "query is given"),
        (
            "spec.guardrails",
            [{"name": "g", "kind": "query", "limit": 1.0, "relative": True, "query": "vector(1)"}],
            "needs $arm",
        ),
        (
            "spec.guardrails",
            [{"name": "clicks", "kind": "failures", "limit": 1.0, "relative": False}],
            "the same name",
        ),
    ],
)
def test_rules_refuse_what_the_classes_refuse(place: str, value: Any, told: str) -> None:
    assert any(told in message for message in broken(changed(place, value)))


@pytest.mark.parametrize(("place", "value", "sentence"), WRONG)
def test_classes_and_definition_refuse_with_the_same_sentence(place: str, value: Any, sentence: str) -> None:
    """`tests/cluster_api` asks a real API server the same."""
    wrong = example(place, value)
    with pytest.raises(ValidationError) as error:
        ExperimentSpec.model_validate(wrong["spec"])
    assert sentence in str(error.value)
    filled = kube_schema.defaulted(SCHEMA, wrong)
    by_schema = [each.message for each in kube_schema.validator(crd.definition()).iter_errors(filled)]
    assert by_schema or any(sentence in message for message in broken(filled)), "the API server would take it"


def test_a_number_that_is_none_is_refused() -> None:
    for value in (float("nan"), float("inf")):
        with pytest.raises(ValidationError, match="finite number"):
            ExperimentSpec.model_validate(example("spec.analysis.alpha", value)["spec"])


def test_what_an_earlier_version_let_begin_is_still_read() -> None:
    for place, value, _ in [each for each in WRONG if "expected 0.01 to 50" in each[2] or "400d" in each[2]]:
        wrong = example(place, value)
        with pytest.raises(ResourceError):
            read(wrong)
        begun = {"phase": "Preparing", "since": "2026-11-01T00:00:00Z", "salt": "s", "started": wrong["spec"]}
        found = read({**wrong, "status": {"state": begun}})
        assert found.state is not None
        assert found.state.started == found.spec


@pytest.mark.parametrize(
    ("place", "value", "free"),
    [
        ("spec.target.name", "other", False),
        ("spec.candidate.bundle", "s3://models/ranker/3", False),
        ("spec.primaryMetric.cuped", False, False),
        ("spec.analysis.alpha", 0.1, False),
        ("spec.evidence.collector", "http://other", False),
        ("spec.guardrails", [], False),
        ("spec.paused", True, True),
        ("spec.aborted", True, True),
        ("spec.approved", True, True),
        ("spec.promotion", "manual", True),
        ("spec.schedule.stages", [{"share": 5.0, "hold": "9s"}, {"share": 40.0, "hold": "1s"}], True),
    ],
)
def test_what_was_begun_is_not_changed_and_all_else_may_be(place: str, value: Any, free: bool) -> None:
    old = changed("status", {"phase": "Running"})
    assert (broken(changed(place, value, old), old) == []) == free
    before = changed("status", {"phase": "Pending"})
    assert broken(changed(place, value, before), before) == []


def test_an_abort_cannot_be_taken_back() -> None:
    old = changed("spec.aborted", True)
    assert any("cannot be taken back" in message for message in broken(changed("spec.aborted", False), old))


def test_the_command_writes_the_file(tmp_path: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert crd.main([str(tmp_path / "folder" / "crd.yaml")]) == 0
    assert [each.name for each in (tmp_path / "folder").iterdir()] == ["crd.yaml"]
    assert crd.main([]) == 0
    assert capsys.readouterr().out == crd.text() == (tmp_path / "folder" / "crd.yaml").read_text()
    assert crd.main(["--help"]) == 2
    json.dumps(yaml.safe_load(crd.text()))
