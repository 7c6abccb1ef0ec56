"""Sums that are the same however a stream was split."""

from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.rollout.statistics.exact import InexactError, exact_product_sum, exact_sum, fraction, units
from serving.rollout.statistics.moments import Moments, MomentsError

DOUBLES = st.floats(allow_nan=False, allow_infinity=False)
TAME = st.one_of(st.just(0.0), st.floats(1e-100, 1e100), st.floats(-1e100, -1e-100))


@given(st.lists(DOUBLES, max_size=40))
def test_a_sum_is_exact(values: list[float]) -> None:
    assert fraction(exact_sum(np.array(values, dtype=np.float64))) == sum(map(Fraction, values), Fraction(0))


@given(st.lists(st.tuples(TAME, TAME), max_size=40))
def test_a_sum_of_products_is_exact(pairs: list[tuple[float, float]]) -> None:
    left, right = (np.array([pair[side] for pair in pairs], dtype=np.float64) for side in (0, 1))
    assert fraction(exact_product_sum(left, right)) == sum((Fraction(a) * Fraction(b) for a, b in pairs), Fraction(0))


def test_more_values_than_one_chunk_are_summed() -> None:
    values = np.full((1 << 20) + 3, 0.1)
    assert fraction(exact_sum(values)) == Fraction(0.1) * len(values)


@settings(max_examples=30)
@given(st.integers(0, 2**32), st.lists(st.integers(0, 200), max_size=5))
def test_any_split_in_any_order_gives_the_same_sums(seed: int, cuts: list[int]) -> None:
    draw = np.random.default_rng(seed)
    y, x = draw.lognormal(0, 3, 200), draw.normal(size=200) * 1e6
    parts = [slice(a, b) for a, b in pairwise([0, *sorted(cuts), 200])]
    draw.shuffle(parts)
    merged = Moments.empty(("y", "x"))
    for part in parts:
        merged += Moments.of({"y": y[part], "x": x[part]})
    assert merged == Moments.of({"y": y, "x": x})
    assert Moments.from_json(merged.to_json()) == merged


def test_means_and_covariances_are_numpys() -> None:
    draw = np.random.default_rng(1)
    columns = {"y": draw.poisson(2, 500).astype(float), "x": draw.normal(size=500), "z": draw.exponential(size=500)}
    moments = Moments.of(columns)
    together = np.stack(list(columns.values()))
    np.testing.assert_allclose(moments.mean(), together.mean(axis=1), rtol=1e-13)
    np.testing.assert_allclose(moments.covariance(), np.cov(together), rtol=1e-12)


def test_a_large_mean_does_not_drown_the_variance() -> None:
    small = np.random.default_rng(2).normal(size=1000)
    shifted = small + 1e9  # a sum of squares in doubles would have lost the variance
    variance = Moments.of({"y": shifted}).covariance()[0, 0]
    assert variance == pytest.approx(np.var(shifted - 1e9, ddof=1), rel=1e-9)


def test_a_warehouses_sums_are_taken() -> None:
    y = np.array([1.0, 2.0, 4.0])
    assert Moments.from_sums(("y",), 3, [7.0], [21.0]) == Moments.of({"y": y})


@pytest.mark.parametrize(
    ("sums", "products", "count", "says"),
    [
        ([7.0], [1.0], 3, "'y': the sum of squares is below"),
        ([7.0], [21.0], 0, "sums of no users"),
        ([7.0, 1.0], [21.0], 3, "expected a count of at least 0, 1 sums and 1 products"),
        ([7.0], [21.0], -1, "count -1"),
    ],
)
def test_impossible_sums_are_refused(sums: list[float], products: list[float], count: int, says: str) -> None:
    with pytest.raises(MomentsError, match=says):
        Moments.from_sums(("y",), count, sums, products)


def test_what_cannot_be_summed_is_refused() -> None:
    with pytest.raises(InexactError, match="a value is nan"):
        Moments.of({"y": [1.0, float("nan")]})
    with pytest.raises(InexactError, match="rescale"):
        Moments.of({"y": [1e200]})
    with pytest.raises(MomentsError, match="shapes"):
        Moments.of({"y": [1.0], "x": [1.0, 2.0]})
    with pytest.raises(MomentsError, match="differ"):
        Moments.of({"y": [1.0]}) + Moments.of({"x": [1.0]})
    with pytest.raises(MomentsError, match="at least 2"):
        Moments.of({"y": [1.0]}).covariance()
    with pytest.raises(MomentsError, match="each once"):
        Moments.empty(())
    with pytest.raises(MomentsError, match="to_json"):
        Moments.from_json({"columns": ["y"]})
    with pytest.raises(InexactError, match="as a double"):
        units(Fraction(1, 3))
