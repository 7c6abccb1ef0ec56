"""The client of evidence: what it asks of a real collector, and what it makes of every failure."""

import json
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from serving.rollout.evidence.codec import (
    CodecError,
    evidence_to_json,
    quantiles_from_json,
    quantiles_to_json,
    query_from_json,
    query_to_json,
)
from serving.rollout.evidence.collector import CollectorEvidence
from serving.rollout.evidence.quantiles import QuantilesQuery
from serving.rollout.experiment.evidence import Evidence, EvidenceError, EvidenceQuery, Quality
from serving.rollout.experiment.ports import MetricSource
from serving.rollout.experiment.spec import Column
from serving.rollout.statistics.moments import Moments
from serving.rollout.statistics.winsor import CapError, CapRule, Caps
from tests.collector.book import QUERY, SPENT
from tests.collector.naive import Did, Seen, join
from tests.collector.process import KEY, TOKENS, Process
from tests.collector.sent import exposure, outcome

NOW = time.time()


@pytest.fixture
def source() -> Iterator[Callable[..., CollectorEvidence]]:
    """Make clients; all are closed with the test."""
    with ExitStack() as stack:

        def make(url: str, token: str | None = TOKENS["evidence"], **settings: Any) -> CollectorEvidence:
            made = CollectorEvidence(url, token=token, **settings)
            stack.callback(made.close)
            return made

        yield make


LATELY = replace(QUERY, window=timedelta(minutes=30), as_of=datetime.fromtimestamp(NOW, UTC))


def lately(chance: random.Random) -> tuple[list[Seen], list[Did]]:
    """Sixty users, half an hour to three hours ago."""
    users = [f"user {n}" for n in range(60)]
    shown = [
        Seen(
            f"e{n}", user := chance.choice(users), "new" if len(user) % 2 else "stable", NOW - chance.uniform(60, 9000)
        )
        for n in range(150)
    ]
    done = [
        Did(f"o{n}", chance.choice(users), "purchase", NOW - chance.uniform(60, 20000), chance.random(), NOW)
        for n in range(500)
    ]
    return shown, done


def test_evidence_over_http_is_the_naive_join_while_events_go_on_arriving(
    collector: Callable[..., Process], source: Callable[..., CollectorEvidence]
) -> None:
    process = collector()
    shown, done = lately(random.Random(3))
    process.post(
        "/v1/exposures", [exposure(e.id, e.user, e.time, key=KEY, uid=e.uid, arm=e.arm, captioned=0) for e in shown]
    )
    process.post("/v1/outcomes", [outcome(e.id, e.user, e.time, event=e.event, value=e.value) for e in done])
    stop = threading.Event()
    commits: list[float] = []

    def others() -> None:
        with process.client() as client:
            for n in range(100_000):
                if stop.is_set():
                    return
                began = time.monotonic()
                sent = [outcome(f"x{n}-{k}", "nobody", NOW - 1e6, event="purchase") for k in range(50)]
                assert client.post("/v1/outcomes", json=sent).json()["stored"] == 50
                commits.append(time.monotonic() - began)

    thread = threading.Thread(target=others)
    thread.start()
    asked: MetricSource = source(process.url)
    found = asked.evidence(LATELY)
    stop.set()
    thread.join()
    assert len(commits) > 3
    expected = join(LATELY, shown, done)
    for arm in LATELY.arms:
        count, sums, products = expected.sums(expected.of(arm))
        assert count > 4
        assert found.moments[arm].count == count
        assert found.moments[arm].sums == tuple(total * (1 << 1074) for total in sums)
        assert found.moments[arm].products == tuple(total * (1 << 1074) for total in products)
    assert found.exposed == expected.exposed
    assert found.quality.late == expected.late > 0
    span = (datetime.fromtimestamp(NOW - 30000, UTC), datetime.fromtimestamp(NOW, UTC))
    whole = asked.quantiles({SPENT: CapRule(0.9)}, span)
    hour = asked.quantiles({SPENT: CapRule(0.9, nonzero=True)}, span, timedelta(hours=1))
    assert 1 < hour.largest["purchase_sum"] < whole.largest["purchase_sum"] < 20
    nobody = asked.quantiles({SPENT: CapRule(0.9)}, (span[0] - timedelta(days=9), span[0] - timedelta(days=8)))
    assert (nobody.largest, nobody.least) == ({}, {})
    assert "there are no events from" in nobody.notes[0]


def test_a_token_is_sent(collector: Callable[..., Process], source: Callable[..., CollectorEvidence]) -> None:
    process = collector()
    assert source(process.url).evidence(LATELY).exposed == {"stable": 0, "new": 0}
    with pytest.raises(EvidenceError, match=r"401.*Bearer"):
        source(process.url, token=None).evidence(LATELY)


def test_a_computation_that_takes_too_long_is_ended(
    collector: Callable[..., Process], source: Callable[..., CollectorEvidence]
) -> None:
    process = collector("--evidence-seconds", "0.01")
    with pytest.raises(EvidenceError, match=r"503.*--evidence-seconds"):
        source(process.url).evidence(LATELY)
    assert process.post("/v1/evidence", json.loads(query_to_json(LATELY))).headers["retry-after"] == "10"


def test_a_damaged_file_is_no_evidence(
    collector: Callable[..., Process], source: Callable[..., CollectorEvidence]
) -> None:
    process = collector()
    (process.database / "events.sqlite3").rename(process.database / "moved")
    with pytest.raises(EvidenceError, match=r"503.*unable to open"):
        source(process.url).evidence(LATELY)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"arms": ["new", "new"]}, "document"),
        ({"columns": []}, "columns"),
        ({"window_seconds": 0}, "window_seconds"),
        ({"as_of": "2026-01-01T00:00:00"}, "as_of"),
        ({"caps": {"profit_sum": 3.0}}, "document"),
        ({"colour": 1}, "colour"),
        ({"columns": [{"event": "click", "aggregate": "median"}]}, "columns.0.aggregate"),
    ],
)
def test_a_question_without_answer_is_refused_with_its_field(change: dict[str, Any], field: str) -> None:
    document = json.loads(query_to_json(QUERY)) | change
    with pytest.raises(CodecError) as told:
        query_from_json(json.dumps(document).encode())
    assert told.value.field == field


def test_the_collector_says_what_is_wrong_with_a_question(collector: Callable[..., Process]) -> None:
    process = collector()
    document = json.loads(query_to_json(QUERY)) | {"window_seconds": -1.0}
    answer = process.post("/v1/evidence", document)
    assert (answer.status_code, answer.json()["error"]["field"]) == (422, "window_seconds")
    assert process.post("/v1/quantiles", {}).status_code == 422
    future = process.post("/v1/evidence", document | {"window_seconds": 1.0, "as_of": "2222-02-02T00:00:00Z"})
    assert (future.status_code, future.json()["error"]["field"]) == (422, "as_of")
    with process.client() as client:
        broken = client.post("/v1/evidence", content=b"{", headers={"content-type": "application/json"})
    assert broken.status_code == 422


def test_questions_come_back_from_json_as_they_were() -> None:
    assert query_from_json(query_to_json(QUERY)) == QUERY
    asked = QuantilesQuery({SPENT: CapRule(0.99)}, (QUERY.as_of - timedelta(days=3), QUERY.as_of))
    assert quantiles_from_json(quantiles_to_json(asked)) == asked
    with pytest.raises(CodecError, match="after its start"):
        quantiles_to_json(QuantilesQuery({SPENT: CapRule(0.99)}, (QUERY.as_of, QUERY.as_of)))
    asked = QuantilesQuery({SPENT: CapRule(0.99, 0.01, nonzero=True)}, asked.span, timedelta(days=1))
    assert quantiles_from_json(quantiles_to_json(asked)) == asked
    with pytest.raises(CapError, match=r"quantile is 1\.0"):
        CapRule(1.0)
    with pytest.raises(CapError, match=r"lower quantile is 0\.9"):
        CapRule(0.99, 0.9)


def test_questions_of_an_older_controller_are_read() -> None:
    old = json.loads(query_to_json(QUERY))
    del old["floors"]
    assert query_from_json(json.dumps(old).encode()) == QUERY
    column = {"column": {"event": "purchase", "aggregate": "sum"}, "quantile": 0.99}
    asked = {"columns": [column], "start": "2026-01-01T00:00:00Z", "end": "2026-01-02T00:00:00Z"}
    found = quantiles_from_json(json.dumps(asked).encode())
    assert (found.columns, found.window) == ({SPENT: CapRule(0.99)}, None)


PLAIN = EvidenceQuery(
    "e", "u", ("stable", "new"), (Column(event="click"),), (), timedelta(1), timedelta(0), QUERY.as_of
)
GOOD = Evidence(
    as_of=PLAIN.as_of,
    exposed={"stable": 1, "new": 0},
    moments={"stable": Moments.of({"click_sum": [0.1]}), "new": Moments.empty(["click_sum"])},
    triggered={arm: Moments.empty(["click_sum"]) for arm in PLAIN.arms},
    quality=Quality(late=1),
)


def answering(status: int, content: bytes) -> CollectorEvidence:
    transport = httpx.MockTransport(lambda request: httpx.Response(status, content=content))
    return CollectorEvidence("http://collector:8090/", transport=transport)


def test_a_good_answer_is_read() -> None:
    assert answering(200, evidence_to_json(GOOD)).evidence(PLAIN) == GOOD


@pytest.mark.parametrize(
    ("status", "content", "words"),
    [
        (503, b'{"error": {"field": "evidence", "message": "busy"}}', "answers 503: evidence: busy"),
        (302, b"", "answers 302"),
        (200, b"<html>", "JSON"),
        (200, b"{}", "is missing"),
        (200, evidence_to_json(GOOD).replace(b'"late":1', b'"late":-1'), "quality.late"),
        (200, evidence_to_json(GOOD).replace(b'"count":1', b'"count":0'), "sums of no users"),
        (200, evidence_to_json(replace(GOOD, as_of=GOOD.as_of + timedelta(1))), "as of"),
        (200, evidence_to_json(replace(GOOD, exposed={"stable": 1})), r"for arms \['stable'\]"),
        (200, evidence_to_json(replace(GOOD, moments={"new": GOOD.moments["new"]})), "answered columns"),
        (200, evidence_to_json(replace(GOOD, triggered=dict.fromkeys(PLAIN.arms, Moments.empty(["x"])))), "columns"),
    ],
)
def test_an_answer_that_is_none_is_an_evidence_error(status: int, content: bytes, words: str) -> None:
    with pytest.raises(EvidenceError, match=words):
        answering(status, content).evidence(PLAIN)


def test_a_collector_that_is_away_is_an_evidence_error(source: Callable[..., CollectorEvidence]) -> None:
    def away(request: httpx.Request) -> httpx.Response:
        raise httpx.ReadTimeout("")

    with pytest.raises(EvidenceError, match="ReadTimeout; is it running"):
        source("http://collector:8090", transport=httpx.MockTransport(away)).evidence(PLAIN)
    with pytest.raises(EvidenceError, match="does not answer"):
        source("http://127.0.0.1:9").quantiles({SPENT: CapRule(0.9)}, (QUERY.as_of, QUERY.as_of + timedelta(1)))


@pytest.mark.parametrize("url", ["collector:8090", "ftp://collector", "http://", "http://a:port"])
def test_an_address_that_is_none_is_an_evidence_error(url: str) -> None:
    with pytest.raises(EvidenceError, match="address"):
        CollectorEvidence(url)


SOME = {SPENT: CapRule(0.9)}


def test_caps_of_other_columns_are_an_evidence_error() -> None:
    span = (QUERY.as_of, QUERY.as_of + timedelta(1))
    assert answering(200, b'{"caps": {"purchase_sum": 3.5}}').quantiles(SOME, span) == Caps({"purchase_sum": 3.5})
    assert answering(500, b"").quantiles({}, span) == Caps({})
    with pytest.raises(EvidenceError, match="caps of"):
        answering(200, b'{"caps": {}}').quantiles(SOME, span)
    with pytest.raises(EvidenceError, match="caps of"):
        answering(200, b'{"caps": {"click_sum": 2}, "notes": ["none"]}').quantiles(SOME, span)
    notes = b'{"caps": {}, "notes": ["nobody"]}'
    assert answering(200, notes).quantiles(SOME, span) == Caps({}, notes=("nobody",))
