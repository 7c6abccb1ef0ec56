"""Effects against independent formulas: Welch's test, the jackknife, a regression."""

import numpy as np
import numpy.typing as npt
import pytest
from scipy import stats

from serving.rollout.statistics.effect import EffectError, Metric, Ratio, effect
from serving.rollout.statistics.moments import Moments

Floats = npt.NDArray[np.float64]
DRAW = np.random.default_rng(3)


def arm(users: int, lift: float = 0.0) -> dict[str, Floats]:
    taste = DRAW.gamma(2, 1, users)
    views = DRAW.poisson(5 * taste) + 1.0
    return {
        "clicks": DRAW.binomial(views.astype(int), 0.2 * (1 + lift)).astype(float),
        "views": views,
        "before": DRAW.poisson(taste).astype(float),
    }


STABLE, CANDIDATE = arm(4000), arm(1000, 0.1)
MOMENTS = Moments.of(STABLE), Moments.of(CANDIDATE)


def test_a_mean_is_compared_as_welch_does() -> None:
    found = effect(Metric(Ratio("clicks")), *MOMENTS)
    welch = stats.ttest_ind(CANDIDATE["clicks"], STABLE["clicks"], equal_var=False)
    assert found.absolute / found.absolute_se == pytest.approx(welch.statistic, rel=1e-12)
    assert found.relative == pytest.approx(CANDIDATE["clicks"].mean() / STABLE["clicks"].mean() - 1)
    assert (found.users, found.variance_left) == (5000, 1.0)


def jackknife(columns: dict[str, Floats]) -> float:
    """Variance of the ratio when each user is left out in turn."""
    top, bottom = columns["clicks"], columns["views"]
    left_out = (top.sum() - top) / (bottom.sum() - bottom)
    return float((len(top) - 1) / len(top) * ((left_out - left_out.mean()) ** 2).sum())


def test_a_ratio_has_the_jackknifes_variance() -> None:
    found = effect(Metric(Ratio("clicks", "views")), *MOMENTS)
    assert found.stable.value == pytest.approx(STABLE["clicks"].sum() / STABLE["views"].sum())
    assert found.stable.variance == pytest.approx(jackknife(STABLE), rel=5e-3)
    assert found.candidate.variance == pytest.approx(jackknife(CANDIDATE), rel=5e-3)


def test_cuped_is_the_regression_on_the_covariate_within_arms() -> None:
    found = effect(Metric(Ratio("clicks"), Ratio("before")), *MOMENTS)
    y = np.concatenate([STABLE["clicks"], CANDIDATE["clicks"]])
    z = np.concatenate([STABLE["before"], CANDIDATE["before"]])
    treated = np.concatenate([np.zeros(4000), np.ones(1000)])
    design = np.stack([np.ones(5000), treated, z], axis=1)
    coefficients, *_ = np.linalg.lstsq(design, y, rcond=None)
    assert found.absolute == pytest.approx(coefficients[1], rel=1e-9)
    assert found.variance_left < 0.8


def test_the_relative_error_is_the_one_of_many_experiments() -> None:
    draw = np.random.default_rng(4)
    relative, told = [], []
    for _ in range(400):
        left, right = draw.exponential(2, 500), draw.exponential(2.2, 500)
        found = effect(Metric(Ratio("y")), Moments.of({"y": left}), Moments.of({"y": right}))
        relative.append(found.relative)
        told.append(found.relative_se)
    assert np.mean(told) == pytest.approx(np.std(relative), rel=0.12)


def test_no_difference_gives_standard_normal_z() -> None:
    draw = np.random.default_rng(5)
    metric = Metric(Ratio("y", "x"), Ratio("z"))
    scores = []
    for _ in range(600):
        arms = []
        for users in (300, 900):
            x = draw.poisson(4, users) + 1.0
            z = draw.normal(size=users)
            arms.append(Moments.of({"x": x, "y": x * 0.3 + z + draw.normal(size=users), "z": z}))
        found = effect(metric, *arms)
        scores.append(found.absolute / found.absolute_se)
    assert stats.kstest(scores, "norm").pvalue > 0.01


@pytest.mark.parametrize(
    ("metric", "stable", "says"),
    [
        (Metric(Ratio("likes")), {"clicks": [1.0, 2.0]}, "no column 'likes'"),
        (Metric(Ratio("clicks")), {"clicks": [1.0]}, "arm stable has 1 users"),
        (Metric(Ratio("clicks", "views")), {"clicks": [1.0, 2.0], "views": [0.0, 0.0]}, "mean of 'views' is 0.0"),
    ],
)
def test_what_cannot_be_compared_is_refused(metric: Metric, stable: dict[str, list[float]], says: str) -> None:
    with pytest.raises(EffectError, match=says):
        effect(metric, Moments.of(stable), Moments.of({name: [1.0, 2.0] for name in stable}))


def test_nothing_relative_to_nothing() -> None:
    found = effect(Metric(Ratio("y")), Moments.of({"y": [0.0, 0.0]}), Moments.of({"y": [1.0, 2.0]}))
    assert np.isnan(found.relative)
    assert np.isnan(found.relative_se)
