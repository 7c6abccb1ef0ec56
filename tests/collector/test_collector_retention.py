"""Old events go, a little at a time; evidence that would need them is refused."""

import sqlite3
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from serving.rollout.collector.join import CutError
from serving.rollout.collector.ledger import Deleted
from serving.rollout.evidence.collector import CollectorEvidence
from serving.rollout.experiment.evidence import EvidenceError
from serving.rollout.statistics.winsor import CapRule
from tests.collector.book import BEGAN, HOUR, QUERY, Book
from tests.collector.naive import Did, Seen
from tests.collector.process import KEY, TOKENS, Process
from tests.collector.sent import UID, exposure, outcome

NOW = time.time()


@pytest.fixture
def book(tmp_path: Path) -> Iterator[Book]:
    made = Book(tmp_path)
    yield made
    made.connection.close()


def expire(book: Book, before: float, limit: int = 100) -> Deleted:
    with book.transaction():
        return book.ledger.expire(before, limit)


def test_events_go_in_the_order_they_came_and_no_more_than_a_few_at_once(book: Book) -> None:
    for n in range(10):
        book.send(
            [Did(f"o{n}", "ann", "click", BEGAN - n, 1.0, BEGAN + n), Seen(f"e{n}", f"user {n}", "new", BEGAN + n)]
        )
    assert expire(book, BEGAN + 5, limit=3) == Deleted(3, 3)
    assert expire(book, BEGAN + 5, limit=3) == Deleted(2, 2)
    assert expire(book, BEGAN + 5, limit=3) == Deleted(0, 0)
    assert book.connection.execute("SELECT min(received), count(*) FROM outcomes").fetchone() == (BEGAN + 5, 5)
    assert book.ledger.rows == {"exposures": 5, "outcomes": 5}


def test_first_exposures_go_with_their_events(book: Book) -> None:
    book.now = BEGAN + HOUR
    book.send([Seen("e1", "ann", "new", BEGAN), Seen("e2", "eve", "new", BEGAN + HOUR)])
    book.now = BEGAN + 2 * HOUR
    book.send([Seen("e3", "ann", "new", BEGAN + 2 * HOUR)])
    expire(book, BEGAN + 2 * HOUR)
    assert book.connection.execute("SELECT count(*) FROM firsts").fetchone() == (0,)
    assert book.ledger.rows["exposures"] == 1


def test_evidence_is_refused_when_part_of_it_is_deleted_and_not_before(book: Book) -> None:
    query = replace(QUERY, before=(), caps={})
    book.now = BEGAN
    book.send([Did("o", "eve", "click", BEGAN - 5, 1.0, BEGAN)])
    book.now = BEGAN + 3 * HOUR
    book.send([Seen("e", "ann", "new", BEGAN + 3 * HOUR)])
    expire(book, BEGAN - 1)
    assert book.evidence(QUERY).exposed["new"] == 1
    expire(book, BEGAN + 1)
    assert book.evidence(query).exposed["new"] == 1
    with pytest.raises(CutError, match="kept since 2025-06-15T15:11:41"):
        book.evidence(QUERY)  # its time before reaches to what is gone
    expire(book, BEGAN + 4 * HOUR)
    with pytest.raises(CutError, match="retention-days"):
        book.evidence(query)


def test_a_clock_that_goes_back_does_not_mix_the_order_of_arrival(book: Book) -> None:
    book.now = BEGAN + 100
    book.send([Did("o1", "ann", "click", BEGAN, 1.0, BEGAN)])
    book.now = BEGAN
    book.send([Did("o2", "ann", "click", BEGAN, 1.0, BEGAN)])
    assert book.connection.execute("SELECT received FROM outcomes").fetchall() == [(BEGAN + 100,)] * 2


def test_a_collector_deletes_what_is_old_and_says_so(collector: Callable[..., Process]) -> None:
    process = collector()
    process.post("/v1/exposures", [exposure(f"e{n}", f"user {n}", NOW - 100, key=KEY) for n in range(20)])
    process.post("/v1/outcomes", [outcome(f"o{n}", f"user {n}", NOW - 50) for n in range(5000)])
    assert process.end() == 0
    with sqlite3.connect(process.database / "events.sqlite3") as database:
        database.execute("UPDATE outcomes SET received = received - 864000 WHERE seq <= 4500")
        database.execute("UPDATE exposures SET received = received - 864000 WHERE seq <= 5")
    database.close()
    process.options = ("--retention-days", "9")
    process.start()
    deadline = time.monotonic() + 20
    while process.metric("sightline_collector_rows", kind="outcome") > 500:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert process.metric("sightline_collector_rows", kind="exposure") == 15
    assert process.metric("sightline_collector_deleted_total", reason="retention") == 4505
    source = CollectorEvidence(process.url, token=TOKENS["evidence"])
    span = (datetime.fromtimestamp(NOW - 20 * 86400, UTC), datetime.fromtimestamp(NOW, UTC))
    with pytest.raises(EvidenceError, match=r"409.*kept"):
        source.quantiles({QUERY.columns[0]: CapRule(0.9)}, span)
    recent = replace(QUERY, uid=UID, before=(), caps={}, as_of=datetime.now(UTC))
    assert source.evidence(recent).exposed["stable"] >= 15  # what is cut lies before the experiment
    source.close()
