"""Learned bounds and quantiles of dense features: clipped alike in training and serving, unknown to format 1."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from models.contract import Contract, ContractFormatError, DenseFeature, FeatureValueError, differences, encode

MOST = float(np.finfo(np.float32).max)


def contract_of(**fields: Any) -> Contract:
    feature = DenseFeature(name="x", source="user", **{"default": 5.0, **fields})
    return Contract(format=2 if feature.learned else 1, name="c", version=1, dense=[feature])


def encoded(contract: Contract, values: list[Any]) -> list[float]:
    found: list[float] = encode(contract, {"x": values}, None)["dense"][:, 0].tolist()
    return found


def test_a_number_beyond_the_bounds_encodes_as_the_bound() -> None:
    contract = contract_of(low=0.0, high=10.0, mean=5.0, std=2.0)
    values = [-1e300, -1.0, 0.0, 5.0, 10.0, 11.0, 1e39, MOST, 1e308, None]
    assert encoded(contract, values) == [-2.5, -2.5, -2.5, 0.0, 2.5, 2.5, 2.5, 2.5, 2.5, 0.0]


def test_a_constant_encodes_to_zero_whatever_is_served() -> None:
    contract = contract_of(low=14.62, high=14.62, mean=14.62, default=14.62)
    assert encoded(contract, [14.62, 14.63, -1e30, 5.6e12, None]) == [0.0] * 5


def test_a_logarithm_is_taken_of_the_clipped_number() -> None:
    contract = contract_of(low=0.0, high=7.0, transform="log1p", default=0.0)
    assert encoded(contract, [-5.0, 0.0, 1e30]) == pytest.approx([0.0, 0.0, np.log(8.0)])


def test_quantiles_are_interpolated_and_end_at_the_outermost_knots() -> None:
    contract = contract_of(transform="quantile", knots=[(0.0, 0.25), (10.0, 0.5), (1e12, 1.0)], mean=0.5, std=0.25)
    assert encoded(contract, [-1e300, 0.0, 5.0, 10.0, 5e11, 1e300]) == pytest.approx([-1, -1, -0.5, 0, 1, 2])


def test_an_infinity_is_refused_and_no_bound_hides_it() -> None:
    with pytest.raises(FeatureValueError, match="x, row 0: is inf; expected a finite number"):
        encoded(contract_of(low=0.0, high=10.0), [float("inf")])


@pytest.mark.parametrize("value", [1e39, -1e39, 1e308, 5.6e12])
def test_without_bounds_an_absurd_number_is_refused_by_name(value: float) -> None:
    with pytest.raises(FeatureValueError, match=r"x, row 1: is -?\S+; expected a number within 1e\+09 deviations"):
        encoded(contract_of(), [1.0, value])


def test_a_contract_of_format_1_keeps_its_document_and_its_digest() -> None:
    contract = contract_of(mean=3.0, std=2.0)
    assert not {"low", "high", "knots"} & json.loads(contract.to_json())["dense"][0].keys()
    assert contract.digest == (
        "sha256:7a999629c163d3e45cff7d35e9898ecd602f594e3c7dd8b7d95f7f3410eaa925"  # as before format 2 came
    )


def test_bounds_survive_json_and_are_part_of_the_digest() -> None:
    contract = contract_of(transform="quantile", low=0.0, high=1.0, knots=((0.0, 0.1), (1.0, 0.9)))
    assert Contract.from_json(contract.to_json()) == contract
    other = contract_of(transform="quantile", low=0.0, high=2.0, knots=((0.0, 0.1), (1.0, 0.9)))
    assert other.digest != contract.digest
    assert [str(each) for each in differences(contract, other)] == ["dense.x.high: changed from 1.0 to 2.0"]
    bare = contract_of()
    bounded = contract_of(low=1.0)
    assert [str(each) for each in differences(bare, bounded)] == ["format: changed from 1 to 2", "dense.x.low: added"]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"low": 2.0, "high": 1.0}, "high: is 1.0; expected at least low (2.0)"),
        ({"low": -1.0, "transform": "log1p"}, "low: is -1.0; expected a number above -1 for log1p"),
        ({"transform": "quantile"}, "knots: is (); expected two or more pairs"),
        ({"transform": "quantile", "knots": [(0.0, 0.5)]}, "expected two or more pairs"),
        ({"transform": "quantile", "knots": [(0.0, 0.5), (0.0, 0.6)]}, "both rising"),
        ({"transform": "quantile", "knots": [(0.0, 0.5), (1.0, 0.5)]}, "both rising"),
        ({"transform": "quantile", "knots": [(0.0, 0.5), (1.0, 1.5)]}, "shares of 0 to 1"),
        ({"knots": [(0.0, 0.5), (1.0, 0.9)]}, "expected none for the transform identity"),
        ({"low": float("nan")}, "low: is nan"),
    ],
)
def test_bounds_that_cannot_be_are_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ContractFormatError) as caught:
        contract_of(**fields)
    assert message in str(caught.value)


def test_format_1_takes_no_bounds() -> None:
    feature = DenseFeature(name="x", source="user", default=0.0, low=0.0)
    with pytest.raises(ContractFormatError, match=r"dense\[0\]: is 'x'; expected no bounds and no knots in format 1"):
        Contract(name="c", version=1, dense=[feature])
