"""Constant columns, heavy tails and bounds: what training rows make of a dense feature."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest

from models.contract import Contract, DenseFeature, encode
from training.data.scaling import HEAVY, dense_feature

Floats = npt.NDArray[np.float64]
ROWS = 3000


def drawn() -> np.random.Generator:
    return np.random.default_rng(5)


def encoded(feature: DenseFeature, values: object) -> Floats:
    contract = Contract(format=2, name="c", version=1, dense=[feature])
    return encode(contract, {feature.name: np.asarray(values, dtype=np.float64)}, None)["dense"][:, 0].astype(
        np.float64
    )


CONSTANT = {
    "a price": np.full(ROWS, 14.62),
    "a large number": np.full(ROWS, 123456789.0),
    "counts that are equal": np.full(ROWS, 59.0),
    "rounding noise": np.where(np.arange(ROWS) % 3 == 0, 0.1 + 0.2, 0.3),
    "rounding noise of a large sum": 4e12 / 7 + drawn().integers(-2, 3, ROWS) * 2.0**-14,
    "rounding noise of float32": (np.float32(14.62) + drawn().integers(-1, 2, ROWS) * np.float32(2.0**-20)).astype(
        "f4"
    ),
    "one row": np.array([3.25]),
    "zeros of both signs": np.array([0.0, -0.0]),
    "nothing": np.array([]),
    "nothing but missing": np.full(5, np.nan),
}


@pytest.mark.parametrize("values", CONSTANT.values(), ids=CONSTANT.keys())
def test_a_constant_column_encodes_to_zero_whatever_is_served(values: Floats) -> None:
    feature = dense_feature("x", "item", values)
    served = [14.63, 0.0, -1.0, 5.6e12, 1e39, np.nan, *values[:3]]
    assert encoded(feature, served).tolist() == [0.0] * len(served)
    assert feature.low == feature.high


NOT_CONSTANT = {
    "article numbers": 4_000_000_000_000.0 + np.arange(ROWS),
    "article numbers of two": 4_000_000_000_000.0 + np.arange(ROWS) % 2,
    "small differences": 1e6 + drawn().normal(size=ROWS) * 1e-3,
    "tiny numbers": drawn().normal(size=ROWS) * 1e-200,
    "subnormal numbers": drawn().normal(size=ROWS) * 1e-310,
    "ages": drawn().integers(18, 80, ROWS).astype(np.float64),
    "an exponential": drawn().exponential(size=ROWS),
}


@pytest.mark.parametrize("values", NOT_CONSTANT.values(), ids=NOT_CONSTANT.keys())
def test_other_columns_are_standardised_whatever_their_magnitude(values: Floats) -> None:
    feature = dense_feature("x", "item", values)
    found = encoded(feature, values)
    assert feature.transform == "identity"
    assert found.mean() == pytest.approx(0.0, abs=1e-5)
    assert found.std() == pytest.approx(1.0, abs=1e-5)
    assert np.corrcoef(found, (values - values[0]) / np.ptp(values))[0, 1] == pytest.approx(1.0, abs=1e-6)
    assert encoded(feature, [1e39]).tolist() == [found.max()]
    assert encoded(feature, [-1e39]).tolist() == [found.min()]
    assert encoded(feature, [np.nan]) == pytest.approx([0.0], abs=1e-5)


HEAVY_TAILS = {
    "a log-normal": (np.exp(3 * drawn().normal(size=ROWS)), "log1p"),
    "prices": (np.exp(5 + 2 * drawn().normal(size=ROWS)), "log1p"),
    "a Cauchy": (drawn().standard_cauchy(ROWS) * 1e6, "quantile"),
    "one absurd price": (np.where(np.arange(ROWS) == 7, 1e12, drawn().uniform(10, 100, ROWS)), "quantile"),
    "a placeholder of -999999": (
        np.where(np.arange(ROWS) % 50 == 0, -999999.0, drawn().uniform(size=ROWS)),
        "quantile",
    ),
    "a rare flag": ((np.arange(ROWS) % 1000 == 0).astype(np.float64), "quantile"),
    "all magnitudes": (drawn().choice([-1.0, 1.0], ROWS) * 10.0 ** drawn().uniform(-80, 80, ROWS), "quantile"),
    "noise beside a few others": (np.r_[np.where(np.arange(ROWS) % 2, 0.1 + 0.2, 0.3), [9.5, 10.5]], "quantile"),
}


@pytest.mark.parametrize(("values", "transform"), HEAVY_TAILS.values(), ids=HEAVY_TAILS.keys())
def test_heavy_tails_are_taken_by_logarithm_or_quantiles_and_nothing_lies_far_outside(
    values: Floats, transform: str
) -> None:
    feature = dense_feature("x", "item", values)
    assert feature.transform == transform
    found = encoded(feature, [*values, 1e39, -1e39, 1.7e308])
    assert np.abs(found).max() <= HEAVY
    order = np.argsort(values, kind="stable")
    assert (np.diff(found[: len(values)][order]) >= 0).all()
    assert abs(encoded(feature, [np.nan])[0]) < 1


def test_one_absurd_value_leaves_the_others_apart() -> None:
    values, _ = HEAVY_TAILS["one absurd price"]
    found = encoded(dense_feature("x", "item", values), [10.0, 32.5, 55.0, 77.5, 100.0])
    assert found == pytest.approx(np.sqrt(12) * (np.array([0, 0.25, 0.5, 0.75, 1.0]) - 0.5), abs=0.11)


def test_noise_beside_other_values_is_one_value() -> None:
    values, _ = HEAVY_TAILS["noise beside a few others"]
    one, other = encoded(dense_feature("x", "item", values), [0.1 + 0.2, 0.3])
    assert one == pytest.approx(other, abs=1e-9)


def test_counts_are_logarithms_and_a_missing_one_is_zero() -> None:
    counts = drawn().integers(0, 500, ROWS).astype(np.float64)
    feature = dense_feature("popularity", "item", counts, count=True)
    assert (feature.transform, feature.default) == ("log1p", 0.0)
    assert encoded(feature, counts) == pytest.approx(
        (np.log1p(counts) - feature.mean) / feature.std, rel=1e-5, abs=1e-6
    )


@pytest.mark.parametrize("change", [lambda v: v[::-1], lambda v: np.sort(v), lambda v: drawn().permutation(v)])
def test_the_order_of_rows_changes_no_digit(change: Callable[[Floats], Floats]) -> None:
    for values in (
        drawn().normal(size=ROWS) * 1e-3 + 14.62,
        4e12 + drawn().normal(size=ROWS),
        drawn().exponential(size=ROWS),
    ):
        assert dense_feature("x", "item", change(values)) == dense_feature("x", "item", values)
