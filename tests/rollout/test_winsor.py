"""Caps: a quantile of the right numbers, never 0, on both sides."""

from __future__ import annotations

import numpy as np
import pytest

from serving.rollout.statistics.winsor import CapError, CapRule, Caps

FEW = np.r_[np.zeros(995), [1.0, 2.0, 3.0, 4.0, 50.0]]
"""Five in a thousand users did something."""


def learned(numbers: np.ndarray, rule: CapRule) -> Caps:
    return Caps.learned({"clicks": numbers}, {"clicks": rule})


def test_a_quantile_of_0_is_that_of_the_users_above_0_and_says_so() -> None:
    found = learned(FEW, CapRule(0.9))
    assert found.largest == {"clicks": float(np.quantile([1, 2, 3, 4, 50], 0.9, method="higher"))}
    assert found.notes == (
        "clicks: the 0.9 quantile of 1,000 users is not above 0; it is capped at 50, that quantile of the 5 users "
        "above 0",
    )
    assert learned(FEW, CapRule(0.999)).largest == {"clicks": 50.0}


def test_quantiles_of_those_that_are_not_0_alone() -> None:
    found = learned(FEW, CapRule(0.6, nonzero=True))
    assert (found.largest, found.notes) == ({"clicks": 4.0}, ())


@pytest.mark.parametrize("rule", [CapRule(0.99), CapRule(0.99, 0.01), CapRule(0.99, nonzero=True)])
def test_a_column_that_nobody_has_is_not_capped(rule: CapRule) -> None:
    found = learned(np.zeros(1000), rule)
    assert (found.largest, found.least) == ({}, {})
    assert "there is nothing to cap by: it is not capped" in found.notes[0]
    kept, beyond = found.apply({"clicks": np.array([7.0])})
    assert (kept["clicks"].tolist(), beyond) == ([7.0], {})


def test_refunds_are_capped_from_below() -> None:
    numbers = np.random.default_rng(1).normal(0, 10, 5000)
    found = learned(numbers, CapRule(0.99, 0.01))
    low, high = np.quantile(numbers, 0.01, method="lower"), np.quantile(numbers, 0.99, method="higher")
    assert (found.least, found.largest) == ({"clicks": low}, {"clicks": high})
    kept, beyond = found.apply({"clicks": numbers})
    assert (kept["clicks"].min(), kept["clicks"].max()) == (low, high)
    assert beyond == {"clicks": int((numbers < low).sum() + (numbers > high).sum())}


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_a_cap_never_changes_a_user_who_did_nothing(sign: float) -> None:
    numbers = -sign * FEW
    for rule in (CapRule(0.99, 0.01), CapRule(0.99, 0.01, nonzero=True)):
        low, high = learned(numbers, rule).ends("clicks")
        assert low <= 0 <= high


@pytest.mark.parametrize(
    ("upper", "lower", "says"),
    [(1.0, None, "quantile is 1"), (0.4, None, "0.4"), (0.9, 0.0, "lower"), (0.9, 0.7, "0.7")],
)
def test_a_quantile_on_the_wrong_side_is_refused(upper: float, lower: float | None, says: str) -> None:
    with pytest.raises(CapError, match=says):
        CapRule(upper, lower)


def test_windows_of_the_same_length_cap_the_share_that_was_asked_for() -> None:
    """The fault that this replaces: 14 days' quantile on one day's numbers capped next to nobody."""
    random = np.random.default_rng(2)
    keen = random.gamma(0.5, 2.0, 40_000)[:, None]
    days = random.poisson(keen, (40_000, 15)) * random.gamma(1.0, 1.0, (40_000, 15))
    by_day, by_fortnight = learned(days[:, 0], CapRule(0.99)), learned(days[:, :14].sum(axis=1), CapRule(0.99))
    counted = [each.apply({"clicks": days[:, 14]})[1]["clicks"] / 40_000 for each in (by_day, by_fortnight)]
    assert counted[0] == pytest.approx(0.01, abs=0.002)
    assert counted[1] < 0.0005
