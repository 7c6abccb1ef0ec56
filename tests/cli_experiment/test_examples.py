"""The example manifests: an Experiment that the definition takes, and questions that the service answers."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import jsonschema_rs
import pytest
import yaml
from prometheus_client import CollectorRegistry

from serving.cli.experiment_file import read
from serving.cli.experiment_outlook import outlook
from serving.cluster.connection import connect
from serving.rollout.operator.crd import definition
from serving.rollout.verdict.answer import Word
from serving.rollout.verdict.app import asgi
from serving.rollout.verdict.source import ClusterExperiments

FOLDER = Path(__file__).parents[2] / "manifests" / "examples" / "experiments"
EXPERIMENT = FOLDER / "kserve.yaml"
PHASES = {"Won": Word.WIN, "Running": Word.PENDING, "Inconclusive": Word.INCONCLUSIVE, "RolledBack": Word.HARM}


def documents(name: str) -> list[dict[str, Any]]:
    return [each for each in yaml.safe_load_all((FOLDER / name).read_text()) if each]


def test_the_experiment_is_taken_by_the_definition_and_has_no_warnings() -> None:
    schema = definition()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    (experiment,) = documents("kserve.yaml")
    check = jsonschema_rs.Draft4Validator(schema)  # OpenAPI 3.0 follows draft 4
    check.validate(experiment)
    check.validate(read(EXPERIMENT).resource("shop"))
    assert outlook(read(EXPERIMENT).spec).warnings == ()


def test_the_experiment_uses_every_part_that_there_is() -> None:
    spec = read(EXPERIMENT).spec
    assert spec.model_fields_set >= set(type(spec).model_fields) - {"approved", "paused", "aborted"}


@pytest.fixture
async def ask(api: Any, made: Callable[..., Any]) -> Callable[..., Any]:
    """Ask the service what a manifest asks, while the experiment is in a phase."""
    bundle = read(EXPERIMENT).spec.candidate.bundle
    transport = httpx.ASGITransport(asgi(ClusterExperiments(connect()), CollectorRegistry()))

    async def send(phase: str, method: str, url: str, **more: Any) -> httpx.Response:
        reason = {"log": [{"at": "2026-11-03T09:00:00Z", "reason": "Harm", "message": ""}]}
        api.put(made(phase, fields=reason if phase == "RolledBack" else {}, candidate={"bundle": bundle}))
        async with httpx.AsyncClient(transport=transport) as client:
            return await client.request(method, url, **more)

    return send


async def test_argo_rollouts_reads_success_failure_or_neither(ask: Callable[..., Any]) -> None:
    template, rollout = documents("argo-rollouts.yaml")
    (metric,) = template["spec"]["metrics"]
    (step,) = [each["analysis"] for each in rollout["spec"]["strategy"]["canary"]["steps"] if "analysis" in each]
    given = {each["name"]: each["value"] for each in step["args"]}
    assert set(given) == {each["name"] for each in template["spec"]["args"]}
    assert step["templates"] == [{"templateName": template["metadata"]["name"]}]
    url = re.sub(r"{{args\.(\w+)}}", lambda found: given[found[1]], metric["provider"]["web"]["url"])
    assert urlsplit(url).port == 8097
    good = re.fullmatch(r'result == "(\w+)"', metric["successCondition"])
    bad = re.fullmatch(r'result in \["(\w+)", "(\w+)"\]', metric["failureCondition"])
    assert good is not None
    assert bad is not None
    assert metric["provider"]["web"]["jsonPath"] == "{$.verdict}"
    results = {}
    for phase in PHASES:
        answer = await ask(phase, "GET", url)
        assert answer.status_code == 200
        result = answer.json()["verdict"]
        results[phase] = "success" if result == good[1] else "failure" if result in bad.groups() else "neither"
    assert results == {"Won": "success", "Running": "neither", "Inconclusive": "failure", "RolledBack": "failure"}
    assert {good[1], *bad.groups(), Word.PENDING} == set(Word)


def test_argo_rollouts_can_never_succeed_by_counting() -> None:
    """A metric that has reached its count is successful, however many measurements were inconclusive."""
    (metric,) = documents("argo-rollouts.yaml")[0]["spec"]["metrics"]
    assert "count" not in metric
    assert metric["consecutiveSuccessLimit"] == 1
    assert metric["failureLimit"] == 0
    assert metric["interval"] == "10m"
    assert metric["inconclusiveLimit"] * 10 > 365 * 24 * 60


async def test_flagger_promotes_a_win_and_rolls_back_an_end_without_one(ask: Callable[..., Any]) -> None:
    (canary,) = documents("flagger.yaml")
    hooks = {each["type"]: each for each in canary["spec"]["analysis"]["webhooks"]}
    assert set(hooks) == {"confirm-promotion", "rollback"}
    answers = {}
    for phase in PHASES:
        for kind, hook in hooks.items():
            payload = {"name": canary["metadata"]["name"], "namespace": canary["metadata"]["namespace"]}
            payload |= {"phase": "Progressing", "metadata": hook["metadata"]}
            answers[phase, kind] = (await ask(phase, "POST", hook["url"], json=payload)).status_code
    assert {each for each, code in answers.items() if code == 200} == {
        ("Won", "confirm-promotion"),
        ("Inconclusive", "rollback"),
        ("RolledBack", "rollback"),
    }
    assert set(answers.values()) == {200, 403}


def test_the_manifests_ask_about_the_experiment_that_is_there() -> None:
    found = read(EXPERIMENT)
    for name in ("argo-rollouts.yaml", "flagger.yaml"):
        text = (FOLDER / name).read_text()
        assert found.spec.candidate.bundle in text
        assert f"experiment: {found.name}" in text or f"value: {found.name}" in text
        assert {each["metadata"]["namespace"] for each in documents(name)} == {found.namespace}
