"""The bench of ways to decide: its traffic, the rules of Argo Rollouts and Flagger, its rows."""

import numpy as np
import pytest

from serving.rollout.bench import analysis
from serving.rollout.bench.endings import PROMOTED, SENT_BACK, UNDECIDED, Endings
from serving.rollout.bench.methods import FIRST_WIN, endings
from serving.rollout.bench.rules import EFFECTS, THRESHOLDS, Row, batch, rows, table
from serving.rollout.bench.running import Floats
from serving.rollout.bench.thresholds import ArgoRollouts, Flagger, Requests
from serving.rollout.bench.visits import HOURS, SHARES, WINDOW, Month


def steady(effect: float, hours: int = 48, views: float = 2e7) -> Requests:
    """So many requests that noise hardly matters."""
    return Requests(np.full((3, hours), views), np.full((3, hours), views / 10), effect)


def test_argo_promotes_after_its_last_pause_and_aborts_at_one_failure_more_than_the_limit() -> None:
    draw = np.random.default_rng(1)
    rule = ArgoRollouts(weights=(0.2, 0.4), pause=3, interval=1, least=0.95, failure_limit=2)
    better = rule.decide(draw, steady(0.0))
    assert (better.outcome == PROMOTED).all()
    assert (better.hour == 6).all()
    worse = rule.decide(draw, steady(-0.1))
    assert (worse.outcome == SENT_BACK).all()
    assert (worse.hour == 3).all()


def test_argos_failures_need_not_be_in_a_row() -> None:
    quiet = steady(0.0, hours=6)
    quiet.views[:, [0, 2, 4]] = 0.0  # no requests: a result that is no number
    quiet.clicks[:, [0, 2, 4]] = 0.0
    found = ArgoRollouts(weights=(0.5,), pause=6, failure_limit=2).decide(np.random.default_rng(2), quiet)
    assert (found.outcome == SENT_BACK).all()
    assert (found.hour == 5).all()


def test_flagger_grows_step_by_step_and_promotes_at_the_largest_weight() -> None:
    draw = np.random.default_rng(3)
    rule = Flagger(interval=2, threshold=3, step_weight=0.25, max_weight=0.5, least=0.95)
    better = rule.decide(draw, steady(0.0))
    assert (better.outcome == PROMOTED).all()
    assert (better.hour == 6).all()  # to a quarter, to a half, a pass at a half
    worse = rule.decide(draw, steady(-0.1))
    assert (worse.outcome == SENT_BACK).all()
    assert (worse.hour == 10).all()  # to a quarter, three failures, then back


def test_flaggers_passes_do_not_take_failures_back() -> None:
    quiet = steady(0.0)
    quiet.views[:, 1::2] = 0.0
    quiet.clicks[:, 1::2] = 0.0
    found = Flagger(threshold=3, step_weight=0.01).decide(np.random.default_rng(4), quiet)
    assert (found.outcome == SENT_BACK).all()
    assert (found.hour == 7).all()


def test_a_ratio_is_the_effect_and_noise() -> None:
    ratio = steady(0.07).ratio(np.random.default_rng(5), 0, 5, np.full(3, 0.3))
    assert ratio == pytest.approx(1.07, abs=0.005)


def test_the_first_look_that_says_something_ends_it() -> None:
    better = np.array([[False, True, True], [False, False, False], [False, False, True]])
    worse = np.array([[False, False, True], [False, False, False], [True, False, False]])
    found = Endings.first(better, worse)
    assert found.outcome.tolist() == [PROMOTED, UNDECIDED, SENT_BACK]
    assert found.hour.tolist() == [2, 3, 1]


@pytest.fixture(scope="module")
def month() -> Month:
    return Month.draw(np.random.default_rng(6), 3000)


def test_a_user_counts_once_a_day_after_the_first_visit_in_a_lane(month: Month) -> None:
    stable, candidate = month.arms(month.clicks)
    users, clicks, views = {0: 0, 1: 0}, {0: 0.0, 1: 0.0}, {0: 0.0, 1: 0.0}
    for user in range(3000):
        own = month.user == user
        opens = sum(share <= month.offset[user] for share in SHARES)
        hours = month.hour[own][month.hour[own] >= opens]
        if len(hours) and hours.min() + WINDOW <= HOURS:
            inside = (month.hour[own] >= hours.min()) & (month.hour[own] < hours.min() + WINDOW)
            lane = int(month.lane[user])
            users[lane] += 1
            clicks[lane] += month.clicks[own][inside].sum()
            views[lane] += month.views[own][inside].sum()
    for lane, sums in enumerate((stable, candidate)):
        assert sums.users[0, -1] == users[lane]
        assert sums.sums[0, -1, :2].tolist() == [clicks[lane], views[lane]]
    assert stable.users[0, WINDOW - 2] == 0


def test_effects_change_clicks_alone_and_by_their_size() -> None:
    draw = np.random.default_rng(7)
    large = Month.draw(draw, 20_000)
    for effect in (0.08, -0.08):
        moved = large.candidate_clicks(draw, effect)
        assert moved.sum() / large.clicks.sum() - 1 == pytest.approx(effect, abs=0.006)
        assert ((moved >= large.clicks) if effect > 0 else (moved <= large.clicks)).all()
        assert (moved <= large.views).all()


def test_the_same_visits_are_read_by_request(month: Month) -> None:
    views, clicks = month.requests()
    assert views.sum() == month.views.sum()
    assert month.clicks.sum() == pytest.approx(clicks.sum(), rel=0.05)
    assert month.seen()[-1] == len(np.unique(month.user))


def test_a_win_waits_for_a_week_and_harm_does_not() -> None:
    draw = np.random.default_rng(8)
    months = [Month.draw(draw, 20_000) for _ in range(2)]
    ends = {}
    for effect in (0.6, -0.6):
        arms = [month.arms(month.candidate_clicks(draw, effect)) for month in months]
        ends[effect] = endings(arms[0][0], arms[0][1], planned=13_000)["always-valid, every hour, CUPED"]
    assert ends[0.6].outcome.tolist() == [PROMOTED]
    assert ends[0.6].hour.tolist() == [FIRST_WIN]
    assert ends[-0.6].outcome.tolist() == [SENT_BACK]
    assert ends[-0.6].hour[0] < 4 * 24


def test_every_way_is_told_for_every_effect(monkeypatch: pytest.MonkeyPatch) -> None:
    found = batch(np.random.SeedSequence(9), 2, 13_000.0)
    ways = {way for way, _ in found}
    assert len(ways) == 5 + len(THRESHOLDS)
    assert set(found) == {(way, effect) for way in ways for effect in EFFECTS}
    told = [Row.of(way, effect, *found[way, effect]) for way, effect in found]
    assert all(0 <= row.promoted + row.sent_back <= 1 for row in told)
    assert table(told).row_count == len(told) + len(EFFECTS)


def test_a_row_counts_runs() -> None:
    users: Floats = np.array([10.0, 20.0, 30.0, 40.0])
    row = Row.of("way", "win", np.array([1, 1, -1, 0]), np.array([24, 48, 72, 96]), users)
    assert (row.promoted, row.sent_back, row.days, row.users) == (0.5, 0.25, 2.5, 25.0)
    assert row.error == 0.25


def test_the_same_seed_gives_the_same_rows() -> None:
    assert rows(1, 3, 1) == rows(1, 3, 1)


def test_very_many_users_are_summed_in_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(analysis, "CHUNK", 5000)
    cost = analysis.measure(20_000, seed=1)
    assert cost.users == cost.found.users == 20_000
    assert cost.found.relative == pytest.approx(0.01, abs=5 * cost.found.relative_se)
    assert min(cost.summing, cost.peak) > 0
