"""The interval of a relative effect is Fieller's: its test, its ends, its limits."""

from math import inf, sqrt
from pathlib import Path

import numpy as np
import pytest

from serving.rollout import statistics
from serving.rollout.statistics.effect import ArmValue, Effect, Metric, Ratio, compare, effect
from serving.rollout.statistics.moments import Moments


def made(stable: float, candidate: float, *, se: tuple[float, float] = (1.0, 1.0)) -> Effect:
    return compare(ArmValue(100, stable, se[0] ** 2), ArmValue(100, candidate, se[1] ** 2))


def excluded(found: Effect, relative: float, half: float) -> bool:
    """Whether the difference of means `candidate - (1 + relative) * stable` excludes 0."""
    factor = 1 + relative
    error = sqrt(found.candidate.variance + factor**2 * found.stable.variance)
    return abs(found.candidate.value - factor * found.stable.value) > half * error


@pytest.mark.parametrize(("stable", "candidate", "half"), [(20, 22, 1.96), (20, 14, 3.5), (9, 12, 4.4), (30, 1, 2.0)])
def test_the_ends_are_where_a_difference_of_means_begins_to_exclude(
    stable: float, candidate: float, half: float
) -> None:
    found = made(stable, candidate, se=(1.0, 1.3))
    interval = found.interval(half)
    assert interval.low < found.relative < interval.high
    for end, outward in ((interval.low, -1), (interval.high, 1)):
        assert excluded(found, end + outward * 1e-9, half)
        assert not excluded(found, end - outward * 1e-9, half)


def test_it_excludes_no_effect_exactly_where_the_absolute_difference_does() -> None:
    draw = np.random.default_rng(1)
    for _ in range(200):
        found = made(10 + draw.normal(), 10 + 3 * draw.normal(), se=(1.0, float(draw.uniform(0.5, 2))))
        sure = abs(found.absolute) > 2.0 * found.absolute_se
        assert found.interval(2.0).excludes(0.0) is sure


def test_with_many_users_it_is_the_delta_methods() -> None:
    found = made(1000, 1010)
    interval = found.interval(1.96)
    assert interval.low == pytest.approx(found.relative - 1.96 * found.relative_se, rel=1e-2)
    assert interval.high == pytest.approx(found.relative + 1.96 * found.relative_se, rel=1e-2)


def test_a_base_that_may_be_zero_leaves_every_effect_possible() -> None:
    interval = made(2, 9).interval(2.0)
    assert (interval.low, interval.high) == (-inf, inf)
    assert made(2.001, 9).interval(2.0).high > 100


def test_more_is_better_where_values_are_negative_too() -> None:
    found = made(-20, -15)
    interval = found.interval(1.96)
    assert found.relative == pytest.approx(0.25)
    assert 0 < interval.low < 0.25 < interval.high
    mirrored = made(20, 15).interval(1.96)
    assert (interval.low, interval.high) == pytest.approx((-mirrored.high, -mirrored.low))


def test_the_delta_methods_interval_misses_heavy_tails_and_this_one_does_not() -> None:
    draw = np.random.default_rng(4)
    misses = np.zeros(2)
    for _ in range(500):
        arms = [draw.lognormal(0, 2.5, 300) * (draw.random(300) < 0.3) for _ in range(2)]
        found = effect(Metric(Ratio("y")), *(Moments.of({"y": arm}) for arm in arms))
        misses += abs(found.relative) > 1.96 * found.relative_se, found.interval(1.96).excludes(0.0)
    by_delta, by_fieller = misses / 500
    error = sqrt(0.05 * 0.95 / 500)
    assert by_fieller <= 0.05 + 3 * error
    assert by_delta > 0.15


def test_the_readmes_example_runs(capsys: pytest.CaptureFixture[str]) -> None:
    readme = Path(statistics.__file__).with_name("README.md").read_text()
    exec(readme.split("```python\n")[1].split("```")[0], {})
    assert "Interval(low=0." in capsys.readouterr().out
