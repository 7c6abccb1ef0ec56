"""What is taken, what is refused and how, over HTTP at a real process."""

import gzip
import json
import time
from typing import Any

import pytest

from tests.collector.process import KEY, Process, free_port
from tests.collector.sent import exposure, outcome

NOW = time.time()


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Any:
    options = ("--max-body-bytes", "20000", "--max-batch", "50", "--retention-days", "30", "--late-seconds", "1800")
    process = Process(tmp_path_factory.mktemp("ingest"), free_port(), options).start()
    yield process
    process.process.kill()
    process.process.wait()


def test_events_are_stored_once_and_repeats_are_acknowledged(running: Any) -> None:
    events = [outcome(f"once-{n}", "ann", NOW - 5) for n in range(3)]
    first = running.post("/v1/outcomes", events)
    assert (first.status_code, first.json()) == (200, {"stored": 3, "duplicates": 0, "refused": 0, "faults": []})
    again = running.post("/v1/outcomes", {"outcomes": [*events, outcome("once-3", "ann", NOW)]})
    assert (again.status_code, again.json()) == (200, {"stored": 1, "duplicates": 3, "refused": 0, "faults": []})
    within = running.post("/v1/outcomes", [outcome("twice", "ann", NOW)] * 2)
    assert within.json()["stored"] == within.json()["duplicates"] == 1


def test_exposures_are_stored_once_too_and_are_told_from_outcomes_of_the_same_id(running: Any) -> None:
    event = exposure("once-0", "bob", NOW - 5, key=KEY)
    assert running.post("/v1/exposures", [event, event]).json()["stored"] == 1
    assert running.post("/v1/exposures", [event]).json() == {"stored": 0, "duplicates": 1, "refused": 0, "faults": []}


@pytest.mark.parametrize(
    ("route", "before", "after"),
    [
        ("/v1/outcomes", outcome("c1", "ann", NOW), outcome("c1", "ann", NOW, value=2.0)),
        ("/v1/outcomes", outcome("c2", "ann", NOW), outcome("c2", "eve", NOW)),
        ("/v1/outcomes", outcome("c3", "ann", NOW), outcome("c3", "ann", NOW, item="i9")),
        ("/v1/exposures", exposure("c4", "ann", NOW, key=KEY), exposure("c4", "ann", NOW, key=KEY, arm="new")),
        ("/v1/exposures", exposure("c5", "ann", NOW, key=KEY), exposure("c5", "ann", NOW, key=KEY, items=["i3"])),
    ],
)
def test_an_id_with_other_content_is_refused_and_the_first_is_kept(
    running: Any, route: str, before: dict[str, Any], after: dict[str, Any]
) -> None:
    assert running.post(route, [before]).json()["stored"] == 1
    refused = running.post(route, [after])
    assert refused.status_code == 422
    assert refused.json()["faults"] == [
        {
            "index": 0,
            "field": "id",
            "value": "sent before with other content",
            "expected": "an id of its own for every event; the first is kept",
        }
    ]
    assert running.post(route, [before]).json()["duplicates"] == 1
    together = running.post(route, [before, after])
    assert (together.status_code, together.json()["duplicates"], together.json()["refused"]) == (200, 1, 1)


@pytest.mark.parametrize(
    ("event", "field", "value", "expected"),
    [
        ({}, "id", "missing", "required"),
        (outcome("b", "ann", NOW, event="Click!"), "event", "'Click!'", "pattern"),
        (outcome("b", "ann", NOW * 1000), "time", "", "less than"),
        (outcome("b", "ann", NOW + 3600), "time", "", "clocks differ"),
        (outcome("b", "ann", NOW - 31 * 86400), "time", "", "the retention"),
        (outcome("b", "ann", NOW, value=1e13), "value", "1000", "less than"),
        (outcome("b", "ann", NOW, value=1e-200), "value", "1e-200", "magnitude"),
        (outcome("b", "ann", NOW, value="1"), "value", "'1'", "valid number"),
        (outcome("b", "", NOW), "user", "''", "at least 1"),
        (outcome("b", "ann", NOW, color="red"), "color", "'red'", "not permitted"),
        ("text", "event", "'text'", "dictionary"),
    ],
)
def test_a_refused_outcome_is_named_and_the_others_are_stored(
    running: Any, event: Any, field: str, value: str, expected: str, request: pytest.FixtureRequest
) -> None:
    good = outcome(f"good beside {request.node.name}", "ann", NOW)
    answer = running.post("/v1/outcomes", [good, event])
    assert (answer.status_code, answer.json()["stored"], answer.json()["refused"]) == (200, 1, 1)
    (fault,) = answer.json()["faults"]
    assert (fault["index"], fault["field"]) == (1, field)
    assert value in fault["value"]
    assert expected in fault["expected"]


@pytest.mark.parametrize(
    ("event", "field"),
    [
        (exposure("b", "ann", NOW, key=KEY) | {"specversion": "0.3"}, "event"),
        (exposure("b", "ann", NOW, key=KEY) | {"type": "other"}, "event"),
        (exposure("b", "ann", NOW, key=KEY) | {"id": "other"}, "id"),
        (exposure("b", "ann", NOW, key=KEY, arm=7), "data.arm"),
        (exposure("b", "ann", NOW, key=KEY, captioned=101), "data.captioned"),
        (exposure("b", "ann", NOW, key=KEY, revision=1 << 63), "data.revision"),
        (exposure("b", "ann", NOW - 31 * 86400, key=KEY), "data.time"),
        (exposure("b", "ann", NOW, key=KEY, colour="red"), "data.colour"),
    ],
)
def test_a_refused_exposure_is_named(running: Any, event: dict[str, Any], field: str) -> None:
    answer = running.post("/v1/exposures", [event])
    assert (answer.status_code, answer.json()["stored"]) == (422, 0)
    assert answer.json()["faults"][0]["field"] == field


def test_the_number_of_named_faults_is_bounded_and_all_are_counted(running: Any) -> None:
    answer = running.post("/v1/outcomes", [{}] * 50).json()
    assert (answer["refused"], len(answer["faults"])) == (50, 20)


@pytest.mark.parametrize(
    ("body", "content_type", "status", "words"),
    [
        (b"{", "application/json", 400, "is not JSON"),
        (b'{"id": NaN}', "application/json", 400, "is not JSON"),
        (b'{"events": []}', "application/json", 400, '{"outcomes": [...]}'),
        (b"[]", "text/plain", 415, "application/json"),
        (b"[]", "application/cloudevents-batch+json", 415, "application/json"),
        (b"[" + b" " * 20000 + b"]", "application/json", 413, "20000 bytes"),
        (json.dumps([{}] * 51).encode(), "application/json", 413, "at most 50"),
        (gzip.compress(b"[]"), "application/json", 400, "is not JSON"),
    ],
)
def test_a_request_that_is_none_is_refused_as_a_whole(
    running: Any, body: bytes, content_type: str, status: int, words: str
) -> None:
    with running.client() as client:
        answer = client.post("/v1/outcomes", content=body, headers={"content-type": content_type})
        in_pieces = client.post("/v1/outcomes", content=iter([body]), headers={"content-type": content_type})
    assert answer.status_code == in_pieces.status_code == status
    assert words in answer.json()["error"]["message"]


def test_an_empty_batch_is_no_fault(running: Any) -> None:
    assert running.post("/v1/outcomes", []).json() == {"stored": 0, "duplicates": 0, "refused": 0, "faults": []}


def test_an_unknown_path_or_method_says_what_there_is(running: Any) -> None:
    with running.client() as client:
        for answer, status in ((client.get("/v1/outcomes"), 405), (client.post("/v2/outcomes"), 404)):
            assert answer.status_code == status
            assert "POST /v1/exposures" in answer.json()["error"]["message"]


def test_metrics_count_results_and_rows(running: Any) -> None:
    def events(result: str) -> float:
        name = "sightline_collector_events_total"
        return running.metric(name, kind="outcome", result=result)

    running.post("/v1/outcomes", [outcome("m0", "seen", NOW)])
    before = {result: events(result) for result in ("stored", "duplicate", "refused", "late", "orphan")}
    rows = running.metric("sightline_collector_rows", kind="outcome")
    commits = running.metric("sightline_collector_commit_seconds_count")
    running.post("/v1/exposures", [exposure("m1", "seen", NOW, key=KEY)])
    sent = [outcome("m0", "seen", NOW), outcome("m2", "seen", NOW - 3600), outcome("m3", "unseen", NOW), {}]
    running.post("/v1/outcomes", sent)
    changes = {result: events(result) - before[result] for result in before}
    assert changes == {"stored": 2, "duplicate": 1, "refused": 1, "late": 1, "orphan": 1}
    assert running.metric("sightline_collector_rows", kind="outcome") == rows + 2
    assert running.metric("sightline_collector_commit_seconds_count") == commits + 2


def test_health_answers(running: Any) -> None:
    with running.client() as client:
        assert client.get("/health/live").json() == {"alive": True}
        assert client.get("/health/ready").json() == {"ready": True}
