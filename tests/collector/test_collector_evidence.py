"""Evidence against the naive join: the same to the last bit."""

import random
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models.experiments.events import Exposure
from serving.rollout.collector import join
from serving.rollout.collector.schema import open_for_reading
from serving.rollout.evidence.codec import evidence_from_json, evidence_to_json
from serving.rollout.evidence.quantiles import QuantilesQuery
from serving.rollout.experiment.evidence import Evidence
from serving.rollout.experiment.spec import Aggregate
from serving.rollout.statistics.moments import Moments
from serving.rollout.statistics.winsor import CapRule
from tests.collector.book import BEGAN, CLICKED, CLICKS, HOUR, QUERY, RANKINGS, SPENT, Book
from tests.collector.naive import Did, Joined, Seen
from tests.collector.naive import join as naively
from tests.collector.process import KEY
from tests.collector.sent import DIGEST, exposure


@pytest.fixture
def book(tmp_path: Path) -> Iterator[Book]:
    made = Book(tmp_path)
    yield made
    made.connection.close()


def world(seed: int) -> list[Seen | Did]:
    """Events on a grid of hours, so that many fall on a boundary; in order of arrival, which is none of time."""
    chance = random.Random(seed)
    users = [f"user {n}" for n in range(40)]
    arms = {user: chance.choice(["stable", "new"]) for user in users[:30]}

    def time(hours: int) -> float:
        return BEGAN + chance.randrange(hours) * HOUR + chance.choice([0.0, 0.0, 0.25, -1e-6])

    shown = [Seen(f"e{n}", chance.choice(users[:30]), "", time(66), captioned=chance.randrange(2)) for n in range(70)]
    shown = [
        replace(
            each,
            arm=chance.choice(["stable", "new", "third"]) if chance.random() < 0.05 else arms[each.user],
            uid="other" if chance.random() < 0.1 else "u",
        )
        for each in shown
    ]
    values = [0.1, 0.2, 9.99, -3.3, 1.0, 0.0, 1e12, 12345.678, 1 / 3]
    done = [
        Did(
            f"o{n}",
            chance.choice(users),
            chance.choice(["click", "purchase", "refund"]),
            time(72) - 12 * HOUR,
            chance.choice(values),
            0,
        )
        for n in range(400)
    ]
    arrival = BEGAN
    arrived: list[Seen | Did] = []
    for each in chance.sample([*shown, *done], len(shown) + len(done)):
        arrival += chance.choice([0.0, 0.0, 900.25, 0.5])
        arrived.append(replace(each, arrived=arrival) if isinstance(each, Did) else each)
    return arrived


def agree(found: Evidence, expected: Joined) -> None:
    """Every number of the evidence, to the last bit."""

    def same(moments: Moments, users: Any) -> None:
        count, sums, products = expected.sums(users)
        assert moments.count == count
        if count:
            unit = 1 << 1074
            assert moments.sums == tuple(total * unit for total in sums)
            assert moments.products == tuple(total * unit for total in products)
        else:
            assert not any(moments.sums)

    assert found.exposed == expected.exposed
    for arm in QUERY.arms:
        same(found.moments[arm], expected.of(arm))
        same(found.triggered[arm], expected.of(arm, triggered=True))
        for day in found.days:
            same(day.moments[arm], expected.of(arm, day.day))
        assert sum(day.moments[arm].count for day in found.days) == found.moments[arm].count
    quality = found.quality
    assert (quality.switched, quality.late, quality.unmatched, dict(quality.capped)) == (
        expected.switched,
        expected.late,
        expected.unmatched,
        expected.capped,
    )


@pytest.mark.parametrize("seed", range(12))
def test_evidence_is_the_naive_join_whatever_order_events_arrive_in(book: Book, seed: int) -> None:
    events = world(seed)
    chance = random.Random(-seed)
    with book.transaction():
        for event in events:
            book.send([event])
        for _ in range(20):
            book.send([chance.choice(events)])
    shown = [each for each in events if isinstance(each, Seen)]
    done = [each for each in events if isinstance(each, Did)]
    for hours in (-5, 0, 20, 31, 60):
        query = replace(QUERY, as_of=datetime.fromtimestamp(BEGAN + hours * HOUR, UTC))
        found, expected = book.evidence(query), naively(query, shown, done)
        agree(found, expected)
        assert evidence_from_json(evidence_to_json(found)) == found


def test_the_worlds_have_everything_that_can_happen() -> None:
    seen = []
    for seed in range(12):
        events = world(seed)
        shown = [each for each in events if isinstance(each, Seen)]
        seen.append(naively(QUERY, shown, [each for each in events if isinstance(each, Did)]))
    for noticed in ("switched", "late", "unmatched"):
        assert sum(getattr(each, noticed) for each in seen) > 5, noticed
    assert all(sum(each.capped[name] for each in seen) > 5 for name in QUERY.caps)
    assert all(sum(len(each.of(arm, triggered=True)) for each in seen) > 50 for arm in QUERY.arms)
    assert any(len({user.first // 86400 for user in each.users}) > 2 for each in seen)


def test_large_experiments_are_the_sum_of_their_parts(book: Book, monkeypatch: pytest.MonkeyPatch) -> None:
    events = world(99)
    book.send([each for each in events if isinstance(each, Seen)])
    book.send([each for each in events if isinstance(each, Did)])
    whole = book.evidence(QUERY)
    monkeypatch.setattr(join, "USERS_AT_ONCE", 3)
    assert book.evidence(QUERY) == whole


@pytest.mark.parametrize(
    ("after_first", "counts"),
    [
        (-12 * HOUR - 1, "no"),
        (-12 * HOUR, "before"),
        (-0.5, "before"),
        (0, "in"),
        (6 * HOUR - 0.5, "in"),
        (6 * HOUR, "no"),
    ],
)
def test_an_outcome_belongs_to_the_window_by_its_time(book: Book, after_first: float, counts: str) -> None:
    first = BEGAN + 20 * HOUR
    book.send([Did("o", "ann", "purchase", first + after_first, 7.0, BEGAN), Seen("e", "ann", "new", first)])
    moments = book.evidence(QUERY).moments["new"]
    means = dict(zip(moments.columns, moments.mean(), strict=True))
    assert (means["purchase_sum"], means["purchase_sum_before"]) == (7.0 * (counts == "in"), 7.0 * (counts == "before"))


@pytest.mark.parametrize(("after_close", "users"), [(-0.5, 0), (0, 1), (0.5, 1)])
def test_a_user_counts_when_the_window_has_closed(book: Book, after_close: float, users: int) -> None:
    book.send([Seen("e", "ann", "new", BEGAN)])
    found = book.evidence(replace(QUERY, as_of=datetime.fromtimestamp(BEGAN + 6 * HOUR + after_close, UTC)))
    assert (found.exposed["new"], found.moments["new"].count) == (1, users)


def test_an_earlier_exposure_that_arrives_later_moves_the_first_one(book: Book) -> None:
    book.send(
        [Seen("e2", "ann", "new", BEGAN + 8 * HOUR, captioned=0), Did("o", "ann", "click", BEGAN + 7 * HOUR, 1, 0)]
    )
    assert book.evidence(QUERY).moments["new"].mean()[0] == 0
    book.send([Seen("e1", "ann", "new", BEGAN + 2 * HOUR, captioned=5)])
    found = book.evidence(QUERY)
    assert found.moments["new"].mean()[0] == 1
    assert found.triggered["new"].count == 1


def test_events_sent_again_are_counted_as_duplicates(book: Book) -> None:
    events = [Seen("e", "ann", "new", BEGAN), Did("o", "ann", "click", BEGAN + 1, 1, 0)]
    for _ in range(3):
        book.send(events)
    found = book.evidence(QUERY)
    assert (found.quality.duplicates, found.moments["new"].count, found.moments["new"].mean()[0]) == (4, 1, 1)


def test_sums_of_a_user_are_rounded_once(book: Book) -> None:
    values = [0.1] * 10 + [1e12, -1e12]
    book.send([Seen("e", "ann", "new", BEGAN)])
    for order, value in enumerate(random.Random(1).sample(values, len(values))):
        book.send([Did(f"o{order}", "ann", "purchase", BEGAN + order, value, 0)])
    total = book.evidence(replace(QUERY, caps={})).moments["new"].sums[2]
    assert Fraction(total, 1 << 1074) == Fraction(1.0)


def test_an_experiment_that_nobody_has_seen_has_no_users(book: Book) -> None:
    found = book.evidence(replace(QUERY, uid="unknown"))
    assert found.exposed == {"stable": 0, "new": 0}
    assert {each.count for each in found.moments.values()} == {0}
    assert found.days == ()


@pytest.mark.parametrize("seed", range(4))
def test_caps_are_quantiles_over_all_users_with_events_in_the_span(book: Book, seed: int) -> None:
    events = world(seed)
    book.send([each for each in events if isinstance(each, Seen)])
    book.send([each for each in events if isinstance(each, Did)])
    start, end = BEGAN - 3 * HOUR, BEGAN + 9 * HOUR
    span = (datetime.fromtimestamp(start, UTC), datetime.fromtimestamp(end, UTC))
    rules = {SPENT: CapRule(0.8), CLICKS: CapRule(0.9), RANKINGS: CapRule(0.95), CLICKED: CapRule(0.5)}
    caps = book.quantiles(QuantilesQuery(rules, span)).largest
    inside = [each for each in events if start <= each.time < end]
    users = sorted({each.user for each in inside})

    def expected(event: str, quantile: float, measure: Callable[[list[Any]], float]) -> float:
        values = []
        for user in users:
            own = [e for e in inside if e.user == user and (e.event if isinstance(e, Did) else "exposure") == event]
            values.append(measure(own))
        return float(np.quantile(values, quantile, method="higher"))

    assert caps["purchase_sum"] == expected("purchase", 0.8, lambda own: float(sum(Fraction(e.value) for e in own)))
    assert caps["click_count"] == expected("click", 0.9, len)
    assert caps["exposure_count"] == expected("exposure", 0.95, len)
    assert caps["click_any"] == 1.0  # never 0: where half of the users have none, that of those who have


def test_no_events_are_no_caps(book: Book) -> None:
    span = (datetime.fromtimestamp(BEGAN, UTC), datetime.fromtimestamp(BEGAN + 1, UTC))
    found = book.quantiles(QuantilesQuery({SPENT: CapRule(0.9)}, span))
    assert (found.largest, found.least) == ({}, {})
    assert "there are no events" in found.notes[0]


def test_a_reader_can_write_nothing(book: Book) -> None:
    with (
        closing(open_for_reading(book.folder)) as connection,
        pytest.raises(sqlite3.OperationalError, match="readonly"),
    ):
        connection.execute("DELETE FROM outcomes")


def test_commits_are_synced_and_deleted_bytes_are_zeroed(book: Book) -> None:
    for pragma, value in (("synchronous", 2), ("journal_mode", "wal"), ("secure_delete", 1)):
        assert book.connection.execute(f"PRAGMA {pragma}").fetchone() == (value,)


def test_every_aggregate_is_covered() -> None:
    assert {column.aggregate for column in QUERY.columns} == set(Aggregate)
    assert Exposure.model_validate(exposure("e", "ann", BEGAN, key=KEY)["data"]).bundle_id == DIGEST
