"""One meaning, two engines: the collector's join on SQLite and the one on DuckDB, asked of the same events."""

from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from functools import partial
from pathlib import Path

import numpy as np
import orjson
import pytest

from models.experiments.events import EXPOSURE_TYPE, pseudonym
from serving.rollout.collector import columns, join
from serving.rollout.collector.events import EventReader
from serving.rollout.collector.history import quantiles
from serving.rollout.collector.ledger import Ledger
from serving.rollout.collector.schema import open_for_reading, open_for_writing
from serving.rollout.evidence.quantiles import QuantilesQuery
from serving.rollout.evidence.sql import SqlSource
from serving.rollout.experiment.evidence import Evidence, EvidenceQuery
from serving.rollout.statistics.winsor import CapRule
from tests.evidence.drawn import CLICKS, DAY, RANKINGS, SPENT, START, Events, drawn, of_parquet, query

KEY = b"a key of pseudonyms"
REST = {
    "experiment": "captions",
    "revision": 1,
    "served": "stable",
    "model": "ranker",
    "bundle_id": "sha256:0",
    "contract_digest": "sha256:1",
    "candidates": 10,
    "seconds": 0.01,
}


def collect(folder: Path, events: Events) -> None:
    """As the collector stores them; its users' ids are the drawn ones."""
    reader = EventReader(KEY, now=lambda: START + 30 * DAY, age=400 * DAY, limit=1_000_000)
    shown = [
        {
            "specversion": "1.0",
            "id": each["id"],
            "type": EXPOSURE_TYPE,
            "data": {**REST, **each, "user": pseudonym(KEY, each["user"])},
        }
        for each in events.exposures
    ]
    acts = [{name: each[name] for name in ("id", "time", "user", "event", "value")} for each in events.outcomes]
    with closing(open_for_writing(folder, KEY)) as connection:
        ledger = Ledger(connection, late_seconds=60, now=lambda: START + 30 * DAY)
        connection.execute("BEGIN IMMEDIATE")
        for batch, add in (
            (reader.exposures(orjson.dumps(shown)), ledger.add_exposures),
            (reader.outcomes(orjson.dumps(acts)), partial(ledger.add_outcomes, sender="shop")),
        ):
            assert not batch.faults
            add(batch.rows)  # type: ignore[operator]
        connection.execute("COMMIT")


def of_collector(folder: Path, asked: EvidenceQuery) -> Evidence:
    with closing(open_for_reading(folder)) as connection:
        columns.install(connection)
        return join.evidence(connection, asked)


def comparable(found: Evidence) -> Evidence:
    """Without what depends on when events arrived, and on which repeats are counted."""
    return replace(found, quality=replace(found.quality, late=0, duplicates=0))


@pytest.mark.parametrize("seed", range(4))
def test_both_give_the_same_evidence_to_the_last_bit(tmp_path: Path, seed: int) -> None:
    events = drawn(100 + seed, whole=False, users=200)
    collect(tmp_path, events)
    source = SqlSource(of_parquet(tmp_path, events), folders=[str(tmp_path)])
    for asked in (
        query(),
        query(caps={"spend_sum": 9.5, "click_count_before": 1.0}),
        query(as_of=datetime.fromtimestamp(START + 3 * DAY, UTC), before=()),
    ):
        by_collector, by_sql = of_collector(tmp_path, asked), source.evidence(asked)
        assert comparable(by_sql) == comparable(by_collector)
        assert by_sql.moments["candidate"].count > 10


def test_both_give_the_same_caps(tmp_path: Path) -> None:
    events = drawn(200, whole=False, users=200)
    collect(tmp_path, events)
    wanted = {SPENT: CapRule(0.9), CLICKS: CapRule(0.99), RANKINGS: CapRule(0.5)}
    span = (datetime.fromtimestamp(START, UTC), datetime.fromtimestamp(START + 3 * DAY, UTC))
    source = SqlSource(of_parquet(tmp_path, events), folders=[str(tmp_path)])
    both = {**wanted, SPENT: CapRule(0.9, 0.2, nonzero=True)}
    for rules, window in ((wanted, None), (both, None), (both, timedelta(hours=9)), (both, timedelta(days=9))):
        with closing(open_for_reading(tmp_path)) as connection:
            columns.install(connection)
            by_collector = quantiles(connection, QuantilesQuery(rules, span, window))
        assert source.quantiles(rules, span, window) == by_collector
        assert (by_collector.largest.get("spend_sum", 0) > 0) == (window != timedelta(days=9))
        if window == timedelta(hours=9):
            assert by_collector.largest["spend_sum"] == in_windows(events, span[0], span[1], window, 0.9)


def in_windows(events: Events, start: datetime, end: datetime, window: timedelta, quantile: float) -> float:
    """By hand: what users who spent anything in their window spent, from each one's first event on."""
    begin, last, long = start.timestamp(), end.timestamp(), window.total_seconds()
    once = {each["id"]: each for each in (*events.exposures, *events.outcomes)}.values()
    inside = [each for each in once if begin <= each["time"] < last]
    first = {user: min(e["time"] for e in inside if e["user"] == user) for user in {e["user"] for e in inside}}
    spent = [
        sum((Fraction(e["value"]) for e in inside
             if e["user"] == user and e.get("event") == "spend" and since <= e["time"] < since + long), Fraction(0))
        for user, since in first.items()
        if since <= last - long
    ]  # fmt: skip
    return float(np.quantile([float(each) for each in spent if each], quantile, method="higher"))
