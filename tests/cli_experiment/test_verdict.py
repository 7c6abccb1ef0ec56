"""The verdict service: only a win is a pass, and what is not known is neither promoted nor rolled back."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client import CollectorRegistry

from serving.cluster.connection import connect
from serving.rollout.report.resource import Resource, read
from serving.rollout.verdict.answer import Word, answer
from serving.rollout.verdict.app import MOST_BYTES, asgi
from serving.rollout.verdict.faults import AwayError
from serving.rollout.verdict.run import main
from serving.rollout.verdict.source import ClusterExperiments

Made = Callable[..., dict[str, Any]]
LOGGED = {
    "harm": "Harm", "guardrail": "GuardrailBreached", "ratio": "SampleRatioMismatch", "noData": "NoData",
    "failed": "CandidateLost",
}  # fmt: skip


def resource(made: Made, phase: str | None, reason: str = "", **fields: Any) -> Resource:
    log = [{"at": "2026-11-03T09:00:00Z", "reason": reason, "message": "", "warning": True}] if reason else []
    document = made(phase, fields={**fields, "log": log})
    return read({**document, "metadata": {**document["metadata"], "namespace": "shop"}})


@pytest.mark.parametrize("phase", ["WaitingForApproval", "Promoting", "Promoted", "Won"])
def test_a_winner_is_a_win_from_the_decision_on(made: Made, seen: Made, phase: str) -> None:
    told = answer(resource(made, phase, outcome="win", looks=[seen(8, "win", 0.01, 0.09)]))
    assert (told.verdict, told.value, told.low, told.high) == (Word.WIN, 0.05, 0.01, 0.09)


@pytest.mark.parametrize("phase", [None, "Pending", "Preparing", "Shadow", "Running"])
def test_before_the_decision_it_is_pending_whatever_the_numbers_say(made: Made, seen: Made, phase: str | None) -> None:
    """A win that waits for its guardrails is none yet."""
    looks = [seen(8, "win", 0.01, 0.09)] if phase == "Running" else []
    outcome = "win" if phase == "Running" else "pending"
    assert answer(resource(made, phase, outcome=outcome, looks=looks)).verdict is Word.PENDING


@pytest.mark.parametrize(
    ("end", "word"),
    [
        ("harm", Word.HARM),
        ("guardrail", Word.HARM),
        ("ratio", Word.INCONCLUSIVE),
        ("noData", Word.INCONCLUSIVE),
        ("failed", Word.INCONCLUSIVE),
    ],
)
def test_a_rollback_is_harm_only_if_harm_was_seen(made: Made, end: str, word: Word) -> None:
    for phase, more in (("RolledBack", {}), ("Stopping", {"end": "RolledBack"})):
        told = answer(resource(made, phase, LOGGED[end], **more))
        assert (told.verdict, told.end) == (word, end)


@pytest.mark.parametrize("phase", ["Aborted", "Rejected", "Inconclusive"])
def test_an_end_without_a_verdict_is_inconclusive(made: Made, phase: str) -> None:
    assert answer(resource(made, phase)).verdict is Word.INCONCLUSIVE


@pytest.fixture
async def client(api: Any) -> AsyncIterator[httpx.AsyncClient]:
    app = asgi(ClusterExperiments(connect()), CollectorRegistry())
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://verdict") as made:
        yield made


def flagger(name: str = "captions", **metadata: str) -> dict[str, Any]:
    """What Flagger sends: newer versions add fields."""
    return {"name": name, "namespace": "shop", "phase": "Progressing", "checksum": "85d557f47b", "metadata": metadata}


CONFIRM, ROLLBACK = "/v1/flagger/confirm-promotion", "/v1/flagger/rollback"


@pytest.mark.parametrize(
    ("phase", "verdict", "confirm", "rollback"),
    [
        ("Won", "win", 200, 403),
        ("Running", "pending", 403, 403),
        ("Inconclusive", "inconclusive", 403, 200),
        ("RolledBack", "inconclusive", 403, 200),
    ],
)
async def test_each_tool_gets_its_answer(
    api: Any, made: Made, client: httpx.AsyncClient, phase: str, verdict: str, confirm: int, rollback: int
) -> None:
    api.put(made(phase))
    said = await client.get("/v1/verdicts/shop/captions")
    assert (said.status_code, said.json()["verdict"]) == (200, verdict)
    assert said.json()["value"] is None
    confirmed = await client.post(CONFIRM, json=flagger())
    assert (confirmed.status_code, confirmed.text.startswith(f"{verdict}: ")) == (confirm, True)
    assert (await client.post(ROLLBACK, json=flagger())).status_code == rollback


async def test_what_is_not_known_is_neither_promoted_nor_rolled_back(
    api: Any, made: Made, client: httpx.AsyncClient
) -> None:
    for path in (CONFIRM, ROLLBACK):
        missing = await client.post(path, json=flagger("nobody"))
        assert (missing.status_code, "there is no Experiment" in missing.json()["error"]) == (404, True)
    assert (await client.get("/v1/verdicts/shop/nobody")).status_code == 404
    api.put({"metadata": {"name": "broken"}, "spec": {}})
    assert (await client.get("/v1/verdicts/shop/broken")).status_code == 503
    api.put(made("Won"))
    api.forbidden.add("GET")
    assert (await client.post(CONFIRM, json=flagger())).status_code == 503
    api.forbidden.clear()
    api.away = 2
    assert (await client.get("/v1/verdicts/shop/captions")).status_code == 503
    assert (await client.post(CONFIRM, json=flagger())).status_code == 503
    assert (await client.post(CONFIRM, json=flagger())).status_code == 200


async def test_a_verdict_of_another_bundle_counts_for_nothing(api: Any, made: Made, client: httpx.AsyncClient) -> None:
    """An experiment of the same name that was won last month says nothing of today's candidate."""
    api.put(made("Won"))
    same, other = "s3://shop/models/ranker/7", "s3://shop/models/ranker/8"
    assert (await client.get("/v1/verdicts/shop/captions", params={"bundle": same})).status_code == 200
    assert (await client.get("/v1/verdicts/shop/captions", params={"bundle": other})).status_code == 409
    assert (await client.post(CONFIRM, json=flagger(bundle=same))).status_code == 200
    for path in (CONFIRM, ROLLBACK):
        assert (await client.post(path, json=flagger(bundle=other))).status_code == 409
    renamed = await client.post(CONFIRM, json=flagger("shop-web", experiment="captions", bundle=same))
    assert renamed.status_code == 200


@pytest.mark.parametrize(
    "body",
    [b"", b"no json", b"[]", b'{"name": "captions"}', b'{"name": 1, "namespace": "shop"}', b'{"metadata": []}',
     b'{"name": "../x", "namespace": "shop"}', b'"' + b"x" * MOST_BYTES + b'"'],
)  # fmt: skip
async def test_a_body_that_is_no_webhook_is_refused(api: Any, client: httpx.AsyncClient, body: bytes) -> None:
    for path in (CONFIRM, ROLLBACK):
        assert (await client.post(path, content=body)).status_code == (413 if len(body) > MOST_BYTES else 400)
    assert api.requests == []


async def test_it_only_reads(api: Any, made: Made, client: httpx.AsyncClient) -> None:
    api.put(made("Running"))
    await client.get("/v1/verdicts/shop/captions")
    await client.post(ROLLBACK, json=flagger())
    assert {method for method, _ in api.requests} == {"GET"}
    assert (await client.post("/v1/verdicts/shop/captions")).status_code == 405
    assert (await client.get(CONFIRM)).status_code == 405


async def test_answers_are_counted(api: Any, made: Made, client: httpx.AsyncClient) -> None:
    api.put(made("Won"))
    await client.get("/v1/verdicts/shop/captions")
    await client.post(CONFIRM, json=flagger())
    await client.post(ROLLBACK, json=flagger("nobody"))
    text = (await client.get("/metrics")).text
    for labels in (
        'answer="win",route="verdict"',
        'answer="win",route="confirm-promotion"',
        'answer="unknown",route="rollback"',
    ):
        assert f"sightline_verdict_requests_total{{{labels}}} 1.0" in text


async def test_it_is_ready_while_the_api_answers(api: Any, client: httpx.AsyncClient) -> None:
    assert (await client.get("/health/ready")).status_code == 200
    api.away = 1
    assert (await client.get("/health/ready")).status_code == 503
    assert (await client.get("/health/live")).status_code == 200


def test_no_answer_in_time_is_no_verdict(monkeypatch: pytest.MonkeyPatch, api: Any) -> None:
    """A socket that accepts and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        cluster = connect()
        cluster.custom.api_client.configuration.host = f"http://127.0.0.1:{silent.getsockname()[1]}"
        monkeypatch.setattr("serving.rollout.verdict.source.SECONDS", 0.3)
        with pytest.raises(AwayError, match="does not answer"):
            ClusterExperiments(cluster).find("shop", "captions")


def test_the_program_serves_until_it_is_told_to_stop(api: Any, made: Made, tmp_path: Path) -> None:
    api.put(made("Won"))
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    program = [sys.executable, "-m", "serving.rollout.verdict.run", "--host", "127.0.0.1", "--port", str(port)]
    environment = {**os.environ, "KUBECONFIG": str(tmp_path / "kubeconfig")}
    with subprocess.Popen(program, env=environment, stderr=subprocess.PIPE, text=True) as process:
        try:
            said = eventually(f"http://127.0.0.1:{port}/v1/verdicts/shop/captions")
            assert said.json()["verdict"] == "win"
            taken = subprocess.run(program, env=environment, capture_output=True, text=True, timeout=60, check=False)
            assert taken.returncode == 1
            assert "address already in use" in taken.stderr
        finally:
            process.send_signal(signal.SIGTERM)
            assert process.wait(30) == 0


@pytest.mark.parametrize(
    ("arguments", "code"), [(("--port", "x"), 2), (("--prot", "1"), 2), (("--context", "none"), 1)]
)
def test_settings_that_cannot_be_used_end_it(api: Any, arguments: tuple[str, ...], code: int) -> None:
    if code == 2:
        with pytest.raises(SystemExit, match=re.escape("2")):
            main(arguments)
    else:
        assert main(arguments) == code


def eventually(url: str) -> httpx.Response:
    for _ in range(300):
        try:
            return httpx.get(url, timeout=5, trust_env=False)
        except httpx.TransportError:
            time.sleep(0.1)
    raise AssertionError(f"{url} never answered")
