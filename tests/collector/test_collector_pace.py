"""One sender's rate is bounded, seen by its name, and nobody else's."""

import time
from collections.abc import Callable

import pytest

from serving.rollout.collector.faults import RequestError
from serving.rollout.collector.pace import Pace
from tests.collector.process import Process
from tests.collector.sent import outcome


def test_a_sender_gets_its_rate_in_the_long_run_and_a_burst_at_once() -> None:
    now = [100.0]
    pace = Pace(10, batch=50, clock=lambda: now[0])
    taken = 0
    for _ in range(10_000):
        try:
            pace.take("shop", 7)
            taken += 7
        except RequestError:
            now[0] += 1
    assert taken == pytest.approx(100 + 10 * (now[0] - 100), abs=7)


def test_a_full_batch_passes_at_any_rate_and_the_time_to_wait_is_told() -> None:
    now = [0.0]
    pace = Pace(0.5, batch=5000, clock=lambda: now[0])
    pace.take("shop", 5000)
    with pytest.raises(RequestError, match=r"'shop' sends more than 0\.5 events a second.*again in 200 s") as refused:
        pace.take("shop", 100)
    assert (refused.value.status, refused.value.retry_after) == (429, 200)
    pace.take("app", 5000)
    now[0] += 200
    pace.take("shop", 100)


def test_a_fast_sender_is_refused_by_name_and_others_are_not(collector: Callable[..., Process]) -> None:
    tokens = "shop shop-token-0123456789\napp app-token-0123456789"
    process = collector(
        SIGHTLINE_COLLECTOR_OUTCOMES_TOKEN=tokens,
        SIGHTLINE_COLLECTOR_MAX_EVENTS_PER_SECOND="0.01",
        SIGHTLINE_COLLECTOR_MAX_BATCH="3",
    )

    def send(sender: str, first: int, count: int) -> tuple[int, str]:
        rows = [outcome(f"{sender}-{n}", f"u{n}", time.time(), event="purchase") for n in range(first, first + count)]
        headers = {"authorization": f"Bearer {sender}-token-0123456789"}
        with process.client(auth=None) as client:
            told = client.post("/v1/outcomes", json=rows, headers=headers)
        return told.status_code, told.headers.get("retry-after", "")

    assert send("shop", 0, 3) == (200, "")
    status, wait = send("shop", 3, 2)
    assert status == 429
    assert 190 <= int(wait) <= 200
    assert send("app", 0, 3) == (200, "")
    assert process.metric("sightline_collector_rows", kind="outcome") == 6
    counted = {
        (sender, result): process.metric("sightline_collector_sender_events_total", sender=sender, result=result)
        for sender in ("shop", "app")
        for result in ("stored", "orphan")
    }
    assert set(counted.values()) == {3}
    assert process.metric("sightline_collector_sender_events_total", sender="shop", result="limited") == 2
