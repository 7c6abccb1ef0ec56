"""The ledger against a computation in plain Python, user by user."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from serving.replay.ledger import Ledger
from serving.rollout.experiment.evidence import EvidenceError, EvidenceQuery
from serving.rollout.experiment.spec import Aggregate, Column
from serving.rollout.statistics.moments import Moments
from serving.rollout.statistics.winsor import CapRule

START = datetime(2026, 1, 5, tzinfo=UTC)
USERS = 60
CLICKS = Column(event="click", aggregate=Aggregate.SUM)
SHOWN = Column(event="exposure", aggregate=Aggregate.COUNT)
DAY = 86_400.0


def query(as_of: float, caps: dict[str, float] | None = None) -> EvidenceQuery:
    return EvidenceQuery(
        experiment="e",
        uid="u",
        arms=("stable", "candidate"),
        columns=(CLICKS, SHOWN),
        before=(CLICKS,),
        window=timedelta(days=1),
        before_span=timedelta(days=3),
        as_of=START + timedelta(seconds=as_of),
        caps=caps or {},
    )


def drawn(seed: int, count: int = 900) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    times = np.sort(rng.uniform(-3 * DAY, 6 * DAY, count))
    users = rng.integers(USERS, size=count)
    enrolled = (times > DAY * (users % 4)) & (times > 0) & (users % 5 > 0)
    return times, users, rng.integers(0, 9, count), np.where(enrolled, users % 2, -1)


def naive(rows: list[tuple[float, int, int, int]], as_of: float, cap: float) -> dict[str, Moments]:
    names = ("click_sum", "exposure_count", "click_sum_before")
    values: dict[str, dict[str, list[float]]] = {arm: {name: [] for name in names} for arm in ("stable", "candidate")}
    for user in range(USERS):
        mine = [row for row in rows if row[1] == user]
        first = next((time for time, _, _, arm in mine if arm >= 0), None)
        if first is None or first + DAY > as_of:
            continue
        inside = [row for row in mine if first <= row[0] < first + DAY]
        earlier = [row for row in mine if first - 3 * DAY <= row[0] < first]
        numbers = {
            "click_sum": min(float(sum(row[2] for row in inside)), cap),
            "exposure_count": float(sum(row[3] >= 0 for row in inside)),
            "click_sum_before": float(sum(row[2] for row in earlier)),
        }
        for name, number in numbers.items():
            values[("stable", "candidate")[user % 2]][name].append(number)
    return {arm: Moments.of(columns) for arm, columns in values.items()}


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_looks_along_the_way_add_up_to_the_naive_join(seed: int) -> None:
    times, users, clicks, arms = drawn(seed)
    ledger, cap = Ledger(USERS, START), 20.0
    rows = list(zip(times.tolist(), users.tolist(), clicks.tolist(), arms.tolist(), strict=True))
    for end in np.arange(-2, 7) * DAY:
        which = (times >= end - DAY) & (times < end)
        ledger.add(times[which], users[which], clicks[which], arms[which])
        if end < 2 * DAY:
            continue
        found = ledger.evidence(query(float(end), {"click_sum": cap}))
        seen = [row for row in rows if row[0] < end]
        assert dict(found.moments) == naive(seen, float(end), cap)
        assert sum(day.moments["stable"].count for day in found.days) == found.moments["stable"].count
        assert found.exposed["candidate"] == len({row[1] for row in seen if row[3] == 1})


def test_caps_come_from_the_time_before() -> None:
    times, users, clicks, arms = drawn(4)
    ledger = Ledger(USERS, START)
    ledger.add(times, users, clicks, arms)
    span = (START - timedelta(days=3), START)
    found = ledger.quantiles({CLICKS: CapRule(0.9)}, span)
    before = times < 0
    sums = [clicks[before & (users == user)].sum() for user in np.unique(users[before])]
    assert found.largest == {"click_sum": float(np.quantile(sums, 0.9, method="higher"))}
    day = timedelta(days=1)
    first = {user: times[before & (users == user)].min() for user in np.unique(users[before])}
    windows = [
        clicks[(users == user) & (times >= since) & (times < since + DAY)].sum()
        for user, since in first.items()
        if since <= -DAY
    ]
    assert ledger.quantiles({CLICKS: CapRule(0.9)}, span, day).largest == {
        "click_sum": float(np.quantile(windows, 0.9, method="higher"))
    }


def test_events_that_nobody_keeps_are_an_error() -> None:
    times, users, clicks, arms = drawn(5)
    ledger = Ledger(USERS, START)
    ledger.add(times, users, clicks, arms)
    other = Column(event="purchase")
    with pytest.raises(EvidenceError, match="'purchase'"):
        ledger.quantiles({other: CapRule(0.9)}, (START - timedelta(days=3), START))
