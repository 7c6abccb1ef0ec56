"""Bounds against published tables, chances against simulation."""

import numpy as np
import pytest

from serving.rollout.statistics.spending import (
    Look,
    Spending,
    SpendingError,
    bounds,
    bounds_that_spend,
    crossing_chance,
)

FIVE = [0.2, 0.4, 0.6, 0.8, 1.0]


@pytest.mark.parametrize(
    ("spending", "table"),
    [
        # Two-sided 0.05, five equal looks, as the R packages gsDesign and ldbounds print them.
        (Spending.OBRIEN_FLEMING, [4.8769, 3.3569, 2.6803, 2.2898, 2.0310]),
        (Spending.POCOCK, [2.4380, 2.4268, 2.4101, 2.3966, 2.3859]),
    ],
)
def test_the_bounds_are_the_published_ones(spending: Spending, table: list[float]) -> None:
    looks = bounds(FIVE, alpha=0.05, spending=spending)
    assert [look.bound for look in looks] == pytest.approx(table, abs=2e-4)
    assert looks[-1].spent == pytest.approx(0.05)
    assert crossing_chance(looks, 0.0) == pytest.approx(0.05, abs=1e-9)


def test_one_look_is_the_fixed_horizon() -> None:
    (look,) = bounds([1.0], alpha=0.05, spending=Spending.POCOCK)
    assert look.bound == pytest.approx(1.959964, abs=1e-6)


def test_a_look_more_changes_nothing_before_it() -> None:
    planned = bounds(FIVE, alpha=0.05, spending=Spending.OBRIEN_FLEMING)
    taken = bounds([0.2, 0.4, 0.5, 1.0], alpha=0.05, spending=Spending.OBRIEN_FLEMING)
    assert [look.bound for look in taken[:2]] == [look.bound for look in planned[:2]]
    assert crossing_chance(taken, 0.0) == pytest.approx(0.05, abs=1e-9)


def test_the_chance_of_crossing_is_the_one_of_simulated_walks() -> None:
    looks = bounds([0.25, 0.5, 1.0], alpha=0.05, spending=Spending.OBRIEN_FLEMING)
    shares = np.array([look.share for look in looks])
    draw = np.random.default_rng(1)
    steps = np.diff(shares, prepend=0.0)
    scores = (draw.normal(size=(100_000, 3)) * np.sqrt(steps) + 2.5 * steps).cumsum(axis=1)
    crossed = (np.abs(scores / np.sqrt(shares)) > [look.bound for look in looks]).any(axis=1).mean()
    assert crossing_chance(looks, 2.5) == pytest.approx(crossed, abs=0.006)


def test_a_look_that_may_spend_nothing_does_not_stop() -> None:
    first, *_ = bounds([0.001, 1.0], alpha=0.05, spending=Spending.OBRIEN_FLEMING)
    assert first.bound > 8
    assert crossing_chance([Look(1.0, 8.0, 0.0)], 0.0) == pytest.approx(0.0, abs=1e-12)


@pytest.mark.parametrize("shares", [[], [0.5, 0.5], [0.0, 1.0], [1.0, 1.2]])
def test_looks_that_do_not_grow_are_refused(shares: list[float]) -> None:
    with pytest.raises(SpendingError, match="expected increasing shares"):
        bounds(shares, alpha=0.05, spending=Spending.POCOCK)


@pytest.mark.parametrize("spending", list(Spending))
def test_a_last_look_at_more_than_was_planned_spends_what_is_left(spending: Spending) -> None:
    looks = bounds([0.2, 0.4, 0.6, 0.8, 1.5], alpha=0.05, spending=spending)
    assert crossing_chance(looks, 0.0) == pytest.approx(0.05, abs=1e-6)
    assert looks[-1].bound > bounds([0.2, 0.4, 0.6, 0.8, 1.0], alpha=0.05, spending=spending)[-1].bound


def test_looks_close_together_are_exact_too() -> None:
    hourly = [look / 336 for look in range(1, 337)]
    looks = [Look(share, 3.0, 0.0) for share in hourly]
    draw = np.random.default_rng(2)
    steps = draw.normal(size=(10_000, 336)) / np.sqrt(336)
    crossed = (np.abs(steps.cumsum(axis=1) / np.sqrt(hourly)) > 3.0).any(axis=1).mean()
    assert crossing_chance(looks, 0.0) == pytest.approx(crossed, abs=3 * np.sqrt(crossed / 10_000))
    near = [0.5, 0.5001, 0.5002, 1.0]
    apart = bounds([0.5, 1.0], alpha=0.05, spending=Spending.OBRIEN_FLEMING)
    assert crossing_chance(bounds(near, alpha=0.05, spending=Spending.OBRIEN_FLEMING), 0.0) == pytest.approx(0.05)
    assert bounds(near, alpha=0.05, spending=Spending.OBRIEN_FLEMING)[-1].bound == pytest.approx(
        apart[-1].bound, abs=2e-3
    )


def test_spending_of_ones_own_is_kept() -> None:
    looks = bounds_that_spend([0.3, 1.0], [0.01, 0.05])
    assert crossing_chance(looks[:1], 0.0) == pytest.approx(0.01, abs=1e-9)
    assert crossing_chance(looks, 0.0) == pytest.approx(0.05, abs=1e-9)
    for spent in ([0.05, 0.01], [0.01], []):
        with pytest.raises(SpendingError, match="never falls"):
            bounds_that_spend([0.3, 1.0], spent)
