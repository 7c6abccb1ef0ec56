"""Values outside the range that the site states for an event are refused by name, counted, and decide nothing."""

import time
from typing import Any

import pytest

from serving.rollout.collector.ranges import read_ranges
from tests.collector.process import Process, free_port
from tests.collector.sent import outcome

NOW = time.time()
STATED = "purchase=0:5000,refund=-5000:0 *=0:1"


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Any:
    process = Process(tmp_path_factory.mktemp("ranges"), free_port(), ("--value-ranges", STATED)).start()
    yield process
    process.process.kill()
    process.process.wait()


@pytest.mark.parametrize(
    ("event", "value", "range_"),
    [
        ("purchase", 5000.01, "0 to 5000"),
        ("purchase", -1.0, "0 to 5000"),
        ("refund", 3.0, "-5000 to 0"),
        ("click", 2.0, "0 to 1"),
    ],
)
def test_a_value_outside_is_refused_and_named(running: Any, event: str, value: float, range_: str) -> None:
    sent = [{**outcome(f"{event}{value}", "ann", NOW, value=value), "event": event}]
    answer = running.post("/v1/outcomes", sent)
    assert answer.status_code == 422
    expected = f"{range_}, the range of {event} (--value-ranges)"
    assert answer.json()["faults"] == [{"index": 0, "field": "value", "value": repr(value), "expected": expected}]


@pytest.mark.parametrize(
    ("event", "value"), [("purchase", 0.0), ("purchase", 5000.0), ("refund", -4.5), ("click", 1.0)]
)
def test_both_ends_are_inside(running: Any, event: str, value: float) -> None:
    sent = [{**outcome(f"in {event}{value}", "ann", NOW, value=value), "event": event}]
    assert running.post("/v1/outcomes", sent).json()["stored"] == 1


def test_an_event_without_a_range_may_have_any_value() -> None:
    assert read_ranges("purchase=0:1").of("click") is None
    assert read_ranges("").of("purchase") is None
    assert read_ranges(" purchase=0:1, \n*=-2:2 ").of("click") == read_ranges("*=-2:2").of("purchase")
