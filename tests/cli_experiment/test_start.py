"""`sightline experiment start`: every fault at once, what will happen, and what is created."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from serving.cli.experiment_faults import ExperimentFileError
from serving.cli.experiment_file import read
from serving.cli.experiment_outlook import outlook
from serving.cli.main import app
from serving.cluster.errors import ClusterError, ConflictError
from serving.rollout.experiment.spec import ExperimentSpec

Write = Callable[[Any], Path]
Given = Callable[..., dict[str, Any]]


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, arguments)


def start(file: Path, *arguments: str, kind: type[Exception] | None = None) -> str:
    result = run("experiment", "start", str(file), *arguments)
    if kind is None:
        assert result.exit_code == 0, (result.output, result.exception)
        return result.output
    assert isinstance(result.exception, kind), (result.output, result.exception)
    return str(result.exception)


def test_a_spec_alone_is_created_under_its_files_name(api: Any, written: Write, given: Given) -> None:
    said = start(written(given()))
    made = api.objects["shop", "captions"]
    assert made["spec"] == given()
    assert "stage 1: at once 1 % of users in the candidate, as many compared, for 1 hour" in said
    assert "stage 4: after 3 hours 50 % of users in the candidate, as many compared, until the verdict" in said
    assert "no win before 7 days; inconclusive after 28 days" in said
    assert "planned for 20,000 users of both arms; at the last stage 100 % of all users take part" in said
    assert "Experiment captions created in shop" in said


def test_a_whole_resource_keeps_its_labels_and_loses_what_the_server_gave(
    api: Any, written: Write, given: Given
) -> None:
    metadata = {
        "name": "words", "namespace": "lab", "labels": {"team": "a"}, "uid": "1", "resourceVersion": "7",
    }  # fmt: skip
    resource = {"apiVersion": "sightline.dev/v1alpha1", "kind": "Experiment", "metadata": metadata, "spec": given()}
    start(written({**resource, "status": {"state": {}}}))
    made = api.objects["lab", "words"]
    assert made["metadata"]["labels"] == {"team": "a"}
    assert made["metadata"]["uid"] == "uid-words"
    assert "status" not in made
    start(written(resource), "--name", "other", "--namespace", "shop")
    assert ("shop", "other") in api.objects


def test_what_is_sent_is_in_the_resources_own_spelling(api: Any, written: Write, given: Given) -> None:
    """The API server would drop snake_case fields, and refuse numbers in quotes."""
    start(written(given(analysis={"planned_users": "20000", "minimum_time": "14d"})))
    assert api.objects["shop", "captions"]["spec"]["analysis"] == {"plannedUsers": 20000, "minimumTime": "14d"}


FAULTY = """
target: {kind: Deploymnt, name: Shop Ranker}
candidate: {bundle: ""}
schedule: {stages: [{share: 60}, {shar: 5}]}
primaryMetric: {name: clicks, numerator: {event: click}, cupedd: true}
guardrails: [{name: p99, kind: query, limit: 0.2}]
analysis: {plannedUsers: many, minimumTime: 7 days}
evidence: {}
promotion: always
"""


def test_every_fault_is_told_at_once_and_nothing_is_asked_of_the_cluster(api: Any, written: Write) -> None:
    file = written(FAULTY)
    with pytest.raises(ExperimentFileError) as caught:
        read(file)
    faults = {each.field: each for each in caught.value.faults}
    assert set(faults) == {
        "spec.target.kind", "spec.target.name", "spec.candidate.bundle", "spec.schedule.stages[0].share",
        "spec.schedule.stages[1].share", "spec.schedule.stages[1].shar", "spec.primaryMetric.cupedd",
        "spec.guardrails[0]", "spec.analysis.plannedUsers", "spec.analysis.minimumTime", "spec.evidence",
        "spec.promotion",
    }  # fmt: skip
    assert faults["spec.target.kind"].value == "'Deploymnt'"
    assert faults["spec.target.kind"].fix == "did you mean Deployment?"
    assert faults["spec.schedule.stages[1].shar"].fix == "did you mean share?"
    assert faults["spec.primaryMetric.cupedd"].expected.startswith("one of name, numerator, denominator")
    assert faults["spec.schedule.stages[1].share"].value == "not given"
    assert "Percent of users in the candidate" in faults["spec.schedule.stages[1].share"].expected
    assert faults["spec.schedule.stages[0].share"].expected == "less than or equal to 50"
    assert faults["spec.analysis.minimumTime"].expected == "a number and a unit: 90s, 30m, 12h or 7d"
    assert "give exactly one of collector and sql" in faults["spec.evidence"].fix
    assert "valid integer" in faults["spec.analysis.plannedUsers"].expected
    said = start(file, kind=ExperimentFileError)
    assert "12 faults, and nothing was created" in said
    assert api.requests == []


def test_faults_are_json_too(written: Write) -> None:
    result = run("--json", "experiment", "start", str(written(FAULTY)))
    assert result.exit_code == 1
    document = json.loads(result.stdout)
    assert document["created"] is False
    assert len(document["faults"]) == 12
    assert set(document["faults"][0]) == {"field", "value", "expected", "fix"}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a: [", "expected YAML in UTF-8"),
        ("target: {kind: Deployment, kind: InferenceService}", "kind is given twice"),
        ("just text", "expected one mapping"),
        (
            "a: &a [x, x]\n"
            + "".join(f"{k}: &{k} [{', '.join([p] * 99)}]\n" for k, p in zip("bcd", ("*a", "*b", "*c"), strict=True)),
            "once aliases",
        ),
        ("a: 1\n---\nb: 2", "2 documents"),
        ("kind: Experiment\nmetadata: {name: Upper}", "metadata.name: 'Upper'"),
        ("kind: Job\napiVersion: batch/v1\nspec: {}", "kind: 'Job'"),
        ("kind: Experiment\napiVersion: sightline.dev/v1alpha1\nspec: {}\npaused: true", "move it into spec"),
        ("kind: Experiment\napiVersion: sightline.dev/v1alpha1\nmetadata: x\nspec: {}", "expected a mapping with name"),
    ],
)
def test_a_file_that_is_no_experiment_is_refused(written: Write, text: str, says: str) -> None:
    assert says in start(written(text), kind=ExperimentFileError)


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    assert "No such file" in start(tmp_path / "none.yaml", kind=ExperimentFileError)


def test_a_dry_run_asks_no_cluster(api: Any, written: Write, given: Given) -> None:
    assert "is valid and was not created" in start(written(given()), "--dry-run")
    assert api.requests == []


def test_the_answer_is_json_with_what_will_happen(api: Any, written: Write, given: Given) -> None:
    result = run("--json", "experiment", "start", str(written(given(guardrails=[]))))
    document = json.loads(result.stdout)
    assert document["created"] is True
    assert document["namespace"] == "shop"
    assert [step["share"] for step in document["outlook"]["steps"]] == [1, 5, 25, 50]
    assert document["outlook"]["steps"][-1]["hold"] is None
    assert any("no guardrails" in each for each in document["outlook"]["warnings"])


def test_a_second_experiment_on_the_same_model_is_refused(
    api: Any, written: Write, given: Given, made: Callable[..., Any]
) -> None:
    api.put(made("Running", name="first"))
    said = start(written(given()), kind=ConflictError)
    assert "Experiment first in shop runs on Deployment shop-ranker already" in said
    assert ("shop", "captions") not in api.objects
    api.put(made("RolledBack", name="first"))
    api.put({"metadata": {"name": "broken"}, "spec": {}})
    start(written(given()))
    assert ("shop", "captions") in api.objects


def test_a_name_that_is_taken_and_a_cluster_without_experiments_are_told(
    api: Any, written: Write, given: Given, made: Callable[..., Any]
) -> None:
    api.put(made("Promoted"))
    assert "exists already: give another name" in start(written(given()), kind=ConflictError)
    api.installed = False
    assert "install the chart with experiments.enabled" in start(written(given()), kind=ClusterError)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"analysis": {"plannedUsers": 1000, "minimumTime": "2d"}}, "does not see every day of the week"),
        ({"analysis": {"plannedUsers": 1000, "minimumTime": "10d"}}, "use a multiple of 7d"),
        ({"analysis": {"plannedUsers": 1000, "method": "fixed"}}, "decides near plannedUsers (1,000)"),
        ({"analysis": {"plannedUsers": 1000, "minimumUsers": 20}}, "intervals are asymptotic"),
        (
            {"guardrails": [{"name": "p99", "kind": "p99Seconds", "limit": 8}]},
            "limit 8 s is above 5 s, up to which rankings are counted",
        ),
        ({"guardrails": []}, "no guardrails"),
        ({"promotion": "automatic"}, "no metric guardrail watches"),
        (
            {"promotion": "manual", "candidate": {"bundle": "/opt/sightline/demo/bundles/ranker-ids"}},
            "the controller refuses it: spec.promotion is manual",
        ),
        ({"aborted": True}, "aborted is set from the start"),
        ({"primaryMetric": {"name": "m", "numerator": {"event": "e"}, "cuped": False}}, "without CUPED"),
        ({"primaryMetric": {"name": "m", "numerator": {"event": "e"}}}, "without capQuantile"),
    ],
)
def test_what_is_doubtful_is_told_before_it_starts(given: Given, changes: dict[str, Any], says: str) -> None:
    warnings = outlook(ExperimentSpec.model_validate(given(**changes))).warnings
    assert any(says in each for each in warnings), warnings


def test_a_good_experiment_has_no_warnings(given: Given) -> None:
    assert outlook(ExperimentSpec.model_validate(given())).warnings == ()


def test_the_shadow_comes_first(given: Given) -> None:
    schedule = {"shadowShare": 10, "shadowHold": "12h", "stages": [{"share": 5, "hold": "1d"}, {"share": 50}]}
    ahead = outlook(ExperimentSpec.model_validate(given(schedule=schedule)))
    assert [(step.name, step.after / 3600) for step in ahead.steps] == [("shadow", 0), ("stage 1", 12), ("stage 2", 36)]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"analysis": {"plannedUsers": 1000, "attributionWindow": "28d"}}, "attributionWindow is not shorter than"),
        ({"schedule": {"stages": [{"share": 1, "hold": "30d"}, {"share": 5}]}}, "would never begin"),
    ],
)
def test_what_must_end_inconclusive_is_refused(
    written: Write, given: Given, changes: dict[str, Any], says: str
) -> None:
    assert says in start(written(given(**changes)), "--dry-run", kind=ExperimentFileError)


SAMPLE = str(Path(__file__).parents[2] / "manifests" / "samples" / "experiment.yaml")


def test_a_dry_run_says_what_guardrails_can_read_and_what_would_do_where_they_cannot() -> None:
    small = run("experiment", "start", SAMPLE, "--dry-run", "--rankings-per-day", "5000")
    said = " ".join(small.output.split())
    assert "guardrails can be read from these rankings of all users a day on: 20,000 at stage 1" in said
    assert "guardrail failures would never be read at 5,000 rankings a day" in said
    assert "give the stage at least 4 % of users; or set minimumRequests to at most 25" in said
    enough = run("--json", "experiment", "start", SAMPLE, "--dry-run", "--rankings-per-day", "50000")
    ahead = json.loads(enough.stdout)["outlook"]
    assert not any("never be read" in each for each in ahead["warnings"])
    first = ahead["traffic"]["watched"][0]
    assert (first["guardrail"], first["stage"], first["read_over"], first["rankings"]) == ("failures", 1, 43_200, 250)
    assert first["finds_all"] < 900
