"""An acknowledged event is never lost, whatever happens to the process, its disk or its lock."""

import random
import resource
import signal
import sqlite3
import threading
import time
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from tests.collector.process import CLOUDEVENTS, KEY, Process
from tests.collector.sent import exposure, outcome

NOW = time.time()


class Sender(threading.Thread):
    """Sends batches, one after the other, until the collector is gone; knows what was acknowledged."""

    def __init__(self, process: Process, name: str) -> None:
        super().__init__(name=name)
        self.process = process
        self.sent: list[tuple[str, list[dict[str, Any]]]] = []
        self.acknowledged: list[tuple[str, list[dict[str, Any]]]] = []

    def run(self) -> None:
        with self.process.client() as client:
            for number in range(100_000):
                batch = self.batch(number)
                self.sent.append(batch)
                try:
                    answer = client.post(batch[0], json=batch[1], headers=CLOUDEVENTS if "exp" in batch[0] else {})
                except httpx.TransportError:
                    return
                if answer.status_code == 200 and answer.json()["stored"] == len(batch[1]):
                    self.acknowledged.append(batch)

    def batch(self, number: int) -> tuple[str, list[dict[str, Any]]]:
        ids = [f"{self.name}-{number}-{place}" for place in range(7)]
        if number % 3 == 0:
            return "/v1/exposures", [exposure(each, f"user {each}", NOW, key=KEY) for each in ids]
        return "/v1/outcomes", [outcome(each, f"user {each}", NOW, value=0.1, item="i") for each in ids]


def test_what_was_acknowledged_survives_sigkill_under_load_and_is_there_once(collector: Callable[..., Process]) -> None:
    process = collector()
    chance = random.Random(4)
    senders: list[Sender] = []
    for turn in range(5):
        now = [Sender(process, f"{turn}-{name}") for name in "abcd"]
        for sender in now:
            sender.start()
        wanted = chance.randrange(5, 40)
        until(lambda now=now, wanted=wanted: sum(len(sender.acknowledged) for sender in now) >= wanted)
        assert process.end(signal.SIGKILL) == -signal.SIGKILL
        for sender in now:
            sender.join()
        senders += now
        process.start()
    acknowledged = [batch for sender in senders for batch in sender.acknowledged]
    sent = [batch for sender in senders for batch in sender.sent]
    assert len(acknowledged) > 50
    assert len(sent) > len(acknowledged)  # some were cut off
    for route in ("/v1/exposures", "/v1/outcomes"):
        again = [event for each, events in acknowledged if each == route for event in events]
        assert process.post(route, again).json() == {"stored": 0, "duplicates": len(again), "refused": 0, "faults": []}
        rest = [event for each, events in sent if each == route for event in events]
        assert process.post(route, rest).status_code == 200
    assert process.end() == 0
    kinds = {"exposures": "/v1/exposures", "outcomes": "/v1/outcomes"}
    with sqlite3.connect(process.database / "events.sqlite3") as database:
        assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        for kind, route in kinds.items():
            (rows, counted) = database.execute(
                f"SELECT count(*), (SELECT value FROM meta WHERE name = '{kind}') FROM {kind}"
            ).fetchone()
            assert rows == counted == sum(len(events) for each, events in sent if each == route)
        (firsts,) = database.execute("SELECT count(*) FROM firsts").fetchone()
        assert firsts == sum(len(events) for each, events in sent if each == "/v1/exposures")
    database.close()


def test_a_disk_that_takes_no_more_is_no_acknowledgement_and_gets_well_again(collector: Callable[..., Process]) -> None:
    process = collector()
    assert process.process is not None
    kept = [outcome(f"kept-{n}", "ann", NOW) for n in range(10)]
    assert process.post("/v1/outcomes", kept).json()["stored"] == 10
    soft, hard = resource.prlimit(process.process.pid, resource.RLIMIT_FSIZE)
    size = (process.database / "events.sqlite3-wal").stat().st_size
    resource.prlimit(process.process.pid, resource.RLIMIT_FSIZE, (size + 5000, hard))
    more = [outcome(f"more-{n}", f"user {n}", NOW, item="i" * 200) for n in range(200)]
    refused = process.post("/v1/outcomes", more)
    assert refused.status_code == 503
    assert int(refused.headers["retry-after"]) > 0
    assert "cannot be written" in refused.json()["error"]["message"]
    with process.client() as client:
        assert client.get("/health/live").status_code == 200
        resource.prlimit(process.process.pid, resource.RLIMIT_FSIZE, (size, hard))
        told = client.get("/health/ready")
        assert (told.status_code, told.json()["ready"]) == (503, False)
        resource.prlimit(process.process.pid, resource.RLIMIT_FSIZE, (soft, hard))
        assert client.get("/health/ready").status_code == 200
    assert process.post("/v1/outcomes", more).json()["stored"] == 200
    assert process.post("/v1/outcomes", kept).json()["duplicates"] == 10
    assert process.metric("sightline_collector_rows", kind="outcome") == 210
    assert process.metric("sightline_collector_commit_failures_total") >= 2


@pytest.fixture
def lock() -> Any:
    """Holds the database's write lock, as a careless program would."""
    held: list[sqlite3.Connection] = []

    def take(process: Process) -> sqlite3.Connection:
        path = process.database / "events.sqlite3"
        connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        held.append(connection)
        connection.execute("BEGIN IMMEDIATE")
        return connection

    yield take
    for connection in held:
        connection.close()


def test_a_locked_database_is_no_acknowledgement(collector: Callable[..., Process], lock: Any) -> None:
    process = collector()
    other = lock(process)
    refused = process.post("/v1/outcomes", [outcome("o", "ann", NOW)])
    assert (refused.status_code, refused.headers["retry-after"]) == (503, "2")
    assert "locked" in refused.json()["error"]["message"]
    other.execute("ROLLBACK")
    assert process.post("/v1/outcomes", [outcome("o", "ann", NOW)]).json()["stored"] == 1


def in_background(work: Callable[[], Any]) -> Callable[[], Any]:
    """Start `work` in a thread; what is returned waits for its result."""
    results: list[Any] = []
    thread = threading.Thread(target=lambda: results.append(work()))
    thread.start()

    def result() -> Any:
        thread.join(60)
        return results[0]

    return result


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_more_requests_than_may_wait_are_sent_away_at_once(collector: Callable[..., Process], lock: Any) -> None:
    process = collector("--max-waiting", "2")
    other = lock(process)
    waiting = [
        in_background(lambda name=name: process.post("/v1/outcomes", [outcome(name, "ann", NOW)])) for name in "ab"
    ]
    until(lambda: process.metric("sightline_collector_waiting") == 2)
    began = time.monotonic()
    refused = process.post("/v1/outcomes", [outcome("c", "ann", NOW)])
    assert time.monotonic() - began < 1
    assert (refused.status_code, refused.headers["retry-after"]) == (503, "2")
    assert "--max-waiting" in refused.json()["error"]["message"]
    assert process.metric("sightline_collector_overloads_total") == 1
    other.execute("ROLLBACK")
    assert [result().json()["stored"] for result in waiting] == [1, 1]
    assert process.post("/v1/outcomes", [outcome("c", "ann", NOW)]).json()["stored"] == 1


def test_requests_that_wait_together_share_a_commit(collector: Callable[..., Process], lock: Any) -> None:
    process = collector()
    other = lock(process)
    names = [f"shared-{n}" for n in range(12)]
    waiting = [
        in_background(lambda name=name: process.post("/v1/outcomes", [outcome(name, "ann", NOW)])) for name in names
    ]
    until(lambda: process.metric("sightline_collector_waiting") == 12)
    other.execute("ROLLBACK")
    assert [result().json()["stored"] for result in waiting] == [1] * 12
    assert process.metric("sightline_collector_commit_seconds_count") <= 3


def test_sigterm_finishes_running_requests_and_the_last_commit(collector: Callable[..., Process], lock: Any) -> None:
    process = collector()
    assert process.process is not None
    other = lock(process)
    waiting = in_background(lambda: process.post("/v1/outcomes", [outcome("last", "ann", NOW)]))
    until(lambda: process.metric("sightline_collector_waiting") == 1)
    process.process.send_signal(signal.SIGTERM)
    time.sleep(0.3)
    assert process.process.poll() is None
    other.execute("ROLLBACK")
    assert waiting().json()["stored"] == 1
    assert process.process.wait(20) == 0
    assert "every acknowledged event is on disk" in process.log
    process.start()
    assert process.post("/v1/outcomes", [outcome("last", "ann", NOW)]).json()["duplicates"] == 1
