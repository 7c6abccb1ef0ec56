"""What the statistics promise under hourly looks, in a small version of `python -m serving.rollout.bench.simulate`.

Bounds are the promise and three binomial standard errors, or tighter where the chance is far from it: the sequence
is conservative (about 1.5 % instead of 5 %), so a fault that doubled it would pass a bound at 5 %.
"""

from math import sqrt

import numpy as np
import pytest

from serving.rollout.bench.chance import Chance, merged
from serving.rollout.bench.peeking import METRICS, e_values, intervals, margins, several
from serving.rollout.bench.planned import crossings, false_alarms, powers, spread
from serving.rollout.bench.population import COLUMNS, EVERYDAY, PURCHASES, Population
from serving.rollout.bench.running import Arrivals, Sums, arm, values
from serving.rollout.bench.sizes import ratios
from serving.rollout.statistics.effect import effect
from serving.rollout.statistics.moments import Moments
from serving.rollout.statistics.several import e_value

ALPHA = 0.05
FORTNIGHT = Arrivals(days=14, users=800)


def at_most(chance: Chance, limit: float) -> None:
    assert chance.share <= limit + 3 * sqrt(limit * (1 - limit) / chance.runs), chance


def named(chances: list[Chance]) -> dict[str, Chance]:
    return {chance.story: chance for chance in chances}


def last(sums: Sums, run: int) -> Moments:
    return Moments.from_sums(
        COLUMNS, int(sums.users[run, -1]), sums.sums[run, -1].tolist(), sums.products[run, -1].tolist()
    )


@pytest.mark.parametrize("name", METRICS)
def test_the_simulated_effects_are_the_products(name: str) -> None:
    draw = np.random.default_rng(1)
    stable = arm(draw, EVERYDAY, Arrivals(3, 1000), runs=4)
    candidate = arm(draw, EVERYDAY, Arrivals(3, 200), runs=4, lift=-0.1)
    z = values(METRICS[name], stable, candidate).z(0.0)
    own = values(METRICS[name], stable, candidate).own_z(0.0)
    by_delta = values(METRICS[name], stable, candidate).delta_z(0.0)
    for run in range(4):
        found = effect(METRICS[name], last(stable, run), last(candidate, run))
        assert own[run, -1] == pytest.approx(found.absolute / found.absolute_se, rel=1e-6)
        assert z[run, -1] == pytest.approx(found.absolute / found.absolute_se / sqrt(found.widened), rel=1e-6)
        assert by_delta[run, -1] == pytest.approx(found.relative / found.relative_se, rel=1e-6)


def test_looks_see_users_whose_window_has_closed_and_only_add_to_them() -> None:
    arrivals = Arrivals(days=3, users=500, window=24)
    sums = arm(np.random.default_rng(2), EVERYDAY, arrivals, runs=300)
    assert sums.users.shape == (300, 48)
    assert (np.diff(sums.users, axis=1) >= 0).all()
    expected = arrivals.expected()
    assert expected.sum() == pytest.approx(500)
    closed = expected[:48].cumsum()
    assert sums.users.mean(axis=0) == pytest.approx(closed, abs=5 * sqrt(closed[-1] / 300))
    assert sums.users[:, 0].mean() == pytest.approx(expected[0], abs=5 * sqrt(expected[0] / 300))


@pytest.mark.parametrize(
    ("effect", "population", "uneven", "least"),
    [(0.0, EVERYDAY, 1.0, 200), (0.1, EVERYDAY, 1.0, 200), (0.1, EVERYDAY, 3.0, 200), (0.0, PURCHASES, 1.0, 100)],
    ids=["no effect", "effect", "uneven arms", "heavy tails from 100 users"],
)
def test_the_interval_hardly_ever_leaves_out_the_truth(
    effect: float, population: Population, uneven: float, least: int
) -> None:
    draw = np.random.default_rng(3)
    found = named(
        merged(
            intervals(
                draw, population, FORTNIGHT, runs=100, effect=effect, alpha=ALPHA, least_users=least, uneven=uneven
            )
            for _ in range(4)
        )
    )
    for name in METRICS:
        at_most(found[f"{name}: always-valid"], 0.015)  # a sequence narrower by 15 % is at 4 to 9 %
        assert found[f"{name}: p < 0.05 at any look"].share > 0.12  # the same looks break a fixed-horizon test
    if population is PURCHASES:
        assert found["clicks per user: always-valid, symmetric by delta method"].share > 0.12


def test_neither_side_of_a_margin_is_claimed_more_often_than_alpha() -> None:
    found = margins(np.random.default_rng(4), EVERYDAY, FORTNIGHT, runs=400, margin=0.05, alpha=ALPHA, least_users=200)
    for chance in found:
        at_most(chance, 0.03)
        assert chance.happened > 0  # it is not so wide that nothing is ever claimed


def test_several_metrics_share_alpha() -> None:
    for chance in several(np.random.default_rng(5), EVERYDAY, FORTNIGHT, runs=400, alpha=ALPHA, least_users=200):
        at_most(chance, 0.03)
    assert e_values(np.array([2.5]), np.array([900]), 0.07)[0] == pytest.approx(e_value(2.5, 1.0, 900, 0.07))


def test_planned_looks_are_wrong_as_often_as_they_say() -> None:
    draw, parts = np.random.default_rng(6), []
    for _ in range(5):
        found = crossings(
            draw, EVERYDAY, FORTNIGHT, runs=160, effect=0.0, alpha=ALPHA, looks=5, first_day=1, least_users=100
        )
        parts.append(false_alarms(found, ALPHA))
    chances = named(merged(parts))
    error = 3 * sqrt(0.05 * 0.95 / 800)
    assert chances["no effect: fixed horizon"].share == pytest.approx(0.05, abs=error)
    assert chances["no effect: group-sequential, 5 looks"].share == pytest.approx(0.05, abs=error)
    at_most(chances["no effect: always-valid"], 0.03)


def test_power_is_what_the_plan_promises() -> None:
    draw = np.random.default_rng(7)
    known = spread(draw, EVERYDAY, FORTNIGHT, users=100_000)
    arrivals = Arrivals(days=14, users=1600)
    found = merged(powers(draw, EVERYDAY, arrivals, runs=75, spread=known, alpha=ALPHA, first_day=7) for _ in range(4))
    assert len(found) == 3
    for chance in found:
        assert chance.share == pytest.approx(0.81, abs=3 * sqrt(0.8 * 0.2 / 300)), chance


def test_sizes_are_watched_without_false_alarms_and_a_loss_is_found() -> None:
    found = named(ratios(np.random.default_rng(8), runs=1000, alpha=0.01))
    at_most(found["sizes are right, lanes 1:1: refused at 0.01"], 0.01)
    at_most(found["sizes are right, shares grow: refused at 0.01"], 0.01)
    assert found["1 % of an arm is lost: found within 2,000,000 users at 0.01"].share > 0.97


def test_chances_say_whether_their_promise_holds() -> None:
    assert Chance("", 10_000, 540, most=0.05).holds()
    assert not Chance("", 10_000, 640, most=0.05).holds()
    assert not Chance("", 10_000, 7000, least=0.78, most=0.84).holds()
    (both,) = merged([[Chance("a", 100, 3)], [Chance("a", 300, 5)]])
    assert (both.runs, both.happened) == (400, 8)
