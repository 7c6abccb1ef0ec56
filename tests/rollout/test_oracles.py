"""Effects, ratios of sample sizes, plans and bounds against tea-tasting, statsmodels and spotify-confidence.

spotify-confidence's numbers are kept in golden/spotify_confidence.json (see the script beside it).
"""

import json
from math import log
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest
import tea_tasting as tt
from scipy import stats
from statsmodels.stats.power import NormalIndPower
from statsmodels.stats.proportion import confint_proportions_2indep, proportions_ztest, test_proportions_2indep
from statsmodels.stats.weightstats import CompareMeans, DescrStatsW

from serving.rollout.statistics.effect import Effect, Metric, Ratio, effect
from serving.rollout.statistics.moments import Moments
from serving.rollout.statistics.plan import Method, Spread, Traffic, detectable, users_needed
from serving.rollout.statistics.spending import bounds_that_spend
from serving.rollout.statistics.srm import once

test_proportions_2indep.__test__ = False  # statsmodels' name, not a test of ours
GOLDEN = json.loads((Path(__file__).parent / "golden/spotify_confidence.json").read_text())
Z = float(stats.norm.ppf(0.975))
Floats = npt.NDArray[np.float64]


def arms(users: tuple[int, int], lift: float, seed: int = 7) -> list[dict[str, Floats]]:
    """Heavy-tailed users: a third never views, a few view very much; the covariate knows their taste."""
    draw = np.random.default_rng(seed)
    made = []
    for count, factor in zip(users, (1.0, 1 + lift), strict=True):
        taste = draw.lognormal(0, 1, count)
        views = draw.poisson(6 * taste) * (draw.random(count) > 0.3)
        made.append(
            {
                "views": views.astype(float),
                "clicks": draw.binomial(views, min(0.3 * factor, 1.0)).astype(float),
                "came": draw.binomial(1, min(0.4 * factor, 1.0), count).astype(float),
                "views_before": draw.poisson(6 * taste).astype(float) + 1,
                "clicks_before": draw.poisson(2 * taste).astype(float),
            }
        )
    return made


@pytest.fixture(scope="module", params=[((3000, 3000), 0.0), ((5000, 1200), 0.08)], ids=["even", "uneven"])
def sample(request: pytest.FixtureRequest) -> list[dict[str, Floats]]:
    return arms(*request.param)


def of_tea_tasting(sample: list[dict[str, Floats]], metric: Any) -> Any:
    table = pa.table(
        {name: np.concatenate([arm[name] for arm in sample]) for name in sample[0]}
        | {"variant": np.repeat([0, 1], [len(arm["views"]) for arm in sample])}
    )
    return tt.Experiment(found=metric, ratio=tt.SampleRatio(method="norm", correction=False)).analyze(table)


METRICS = {
    "mean": (Metric(Ratio("clicks")), ("clicks",)),
    "ratio": (Metric(Ratio("clicks", "views")), ("clicks", "views")),
    "mean with covariate": (Metric(Ratio("clicks"), Ratio("clicks_before")), ("clicks", None, "clicks_before")),
    "ratio with covariate": (
        Metric(Ratio("clicks", "views"), Ratio("clicks_before", "views_before")),
        ("clicks", "views", "clicks_before", "views_before"),
    ),
}


@pytest.mark.parametrize("name", METRICS)
def test_effects_are_tea_tastings(sample: list[dict[str, Floats]], name: str) -> None:
    metric, columns = METRICS[name]
    found = effect(metric, *(Moments.of(arm) for arm in sample))
    theirs = of_tea_tasting(sample, tt.RatioOfMeans(*columns, use_t=False, equal_var=False))["found"]
    # Their CUPED coefficient is from all users together, ours from within the arms: no effect can bend it.
    same = 1e-9 if metric.covariate is None else 5e-3
    half = (theirs.effect_size_ci_upper - theirs.effect_size_ci_lower) / 2
    assert found.absolute == pytest.approx(theirs.effect_size, rel=same, abs=same * half)
    assert Z * found.absolute_se == pytest.approx(half, rel=same)
    # Their relative interval is symmetric in the logarithm, of the half-width of our error over the quotient.
    log_half = log((1 + theirs.rel_effect_size_ci_upper) / (1 + theirs.rel_effect_size_ci_lower)) / 2
    assert found.relative == pytest.approx(theirs.rel_effect_size, rel=same, abs=same * log_half)
    assert Z * found.relative_se / (1 + found.relative) == pytest.approx(log_half, rel=same)


def test_a_covariate_saves_what_tea_tasting_says(sample: list[dict[str, Floats]]) -> None:
    metric, columns = METRICS["mean with covariate"]
    found = effect(metric, *(Moments.of(arm) for arm in sample))
    plain, adjusted = (
        of_tea_tasting(sample, tt.RatioOfMeans(*given, use_t=False, equal_var=False))["found"]
        for given in (columns[:1], columns)
    )
    widths = [each.effect_size_ci_upper - each.effect_size_ci_lower for each in (plain, adjusted)]
    assert found.variance_left == pytest.approx((widths[1] / widths[0]) ** 2, rel=5e-3)
    assert found.variance_left < 0.75


def test_means_are_statsmodels(sample: list[dict[str, Floats]]) -> None:
    found = effect(Metric(Ratio("clicks")), *(Moments.of(arm) for arm in sample))
    theirs = CompareMeans(DescrStatsW(sample[1]["clicks"]), DescrStatsW(sample[0]["clicks"]))
    interval = theirs.zconfint_diff(usevar="unequal")
    assert (found.absolute - Z * found.absolute_se, found.absolute + Z * found.absolute_se) == pytest.approx(interval)


def test_shares_of_users_are_statsmodels(sample: list[dict[str, Floats]]) -> None:
    found = effect(Metric(Ratio("came")), *(Moments.of(arm) for arm in sample))
    counts = [int(arm["came"].sum()) for arm in reversed(sample)]
    users = [len(arm["came"]) for arm in reversed(sample)]
    interval = confint_proportions_2indep(counts[0], users[0], counts[1], users[1], method="wald")
    # An unbiased variance instead of p (1 - p): a relative difference of 1 / (2 n).
    close = 1 / min(users)
    assert found.absolute - Z * found.absolute_se == pytest.approx(
        interval[0], rel=close, abs=close * found.absolute_se
    )
    assert found.absolute + Z * found.absolute_se == pytest.approx(
        interval[1], rel=close, abs=close * found.absolute_se
    )
    statistic, _ = proportions_ztest(counts, users)
    assert found.absolute / found.absolute_se == pytest.approx(statistic, rel=0.03, abs=0.01)  # theirs pools variances
    relative = test_proportions_2indep(*(counts[0], users[0], counts[1], users[1]), compare="ratio", method="log")
    assert 1 + found.relative == pytest.approx(relative.ratio)


def test_sample_ratios_are_tea_tastings_and_statsmodels(sample: list[dict[str, Floats]]) -> None:
    counts = [len(arm["came"]) for arm in sample]
    theirs = of_tea_tasting(sample, tt.Mean("clicks"))["ratio"]
    assert once(counts, [0.5, 0.5]).p_value == pytest.approx(theirs.pvalue, rel=1e-6, abs=1e-300)
    _, p_value = proportions_ztest(5103, 10_000, value=0.5, prop_var=0.5)
    assert once([5103, 4897], [0.5, 0.5]).p_value == pytest.approx(p_value, rel=1e-9)


def test_plans_are_statsmodels_and_tea_tastings() -> None:
    spread, wanted = Spread(2.5), 0.02
    users = users_needed(spread, wanted, alpha=0.05, power=0.8)
    size = wanted / spread.cv
    assert users == pytest.approx(NormalIndPower().solve_power(effect_size=size, alpha=0.05, power=0.8), rel=1e-4)
    data = pa.table({"y": np.tile([0.0, 2.0], 5000)})  # mean 1, deviation 1
    planned = tt.Mean("y", use_t=False, rel_effect_size=wanted, power=0.8, alpha=0.05).solve_power(data, "n_obs")
    assert 2 * users_needed(Spread(1.0), wanted, alpha=0.05, power=0.8) == pytest.approx(planned[0].n_obs, rel=1e-3)


@pytest.mark.parametrize(("stable", "candidate"), [(0.5, 0.5), (0.9, 0.1), (0.7, 0.1)])
def test_detectable_effects_with_uneven_shares_are_statsmodels(stable: float, candidate: float) -> None:
    found = detectable(
        Traffic((80_000,), stable, candidate), Spread(1.7), 1, alpha=0.01, power=0.9, method=Method.FIXED_HORIZON
    )
    theirs = NormalIndPower().solve_power(
        nobs1=80_000 * stable, ratio=candidate / stable, alpha=0.01, power=0.9, effect_size=None
    )
    assert found / 1.7 == pytest.approx(theirs, rel=1e-4)


def golden_effect(metric: Metric) -> Effect:
    return effect(metric, *(Moments.of(GOLDEN["users"][arm]) for arm in ("stable", "candidate")))


@pytest.mark.parametrize(
    ("name", "metric", "same"),
    [
        ("mean", Metric(Ratio("views")), 1e-9),
        # Their variance of a share divides by n, ours by n - 1; of 60 users that is 1 in 120 of the error.
        ("share", Metric(Ratio("came")), 1 / 100),
        # Their covariate's coefficient is from all users together, and its variance divides by n.
        ("covariate", Metric(Ratio("views"), Ratio("before")), 0.02),
    ],
)
def test_effects_are_spotify_confidences(name: str, metric: Metric, same: float) -> None:
    found, theirs = golden_effect(metric), GOLDEN[name]
    assert found.absolute == pytest.approx(theirs["difference"], rel=same)
    assert found.absolute_se == pytest.approx(theirs["std_err"], rel=same)
    assert found.absolute - Z * found.absolute_se == pytest.approx(theirs["ci_lower"], rel=3 * same)


def test_a_margin_is_spotify_confidences_non_inferiority() -> None:
    found, theirs = golden_effect(Metric(Ratio("views"))), GOLDEN["non_inferiority"]
    assert found.absolute - stats.norm.ppf(0.95) * found.absolute_se == pytest.approx(theirs["ci_lower"])
    z = (found.absolute + 0.1 * found.stable.value) / found.absolute_se
    assert stats.norm.sf(z) == pytest.approx(theirs["p-value"])


def test_ratios_and_plans_are_spotify_confidences() -> None:
    counts = [len(GOLDEN["users"][arm]["views"]) for arm in ("stable", "candidate")]
    assert once(counts, [0.5, 0.5]).p_value == pytest.approx(GOLDEN["ratio_p"])
    needed = 2 * users_needed(Spread.of(4.0, 6.0), 0.02, alpha=0.05, power=0.8)
    assert needed == pytest.approx(GOLDEN["sample_size"], abs=1)


@pytest.mark.parametrize("case", GOLDEN["bounds"], ids=["even looks", "uneven looks"])
def test_sequential_bounds_are_spotify_confidences(case: dict[str, Any]) -> None:
    looks = bounds_that_spend(case["shares"], case["spent"])
    # They search to 1e-7 in alpha on a grid of 0.05 deviations.
    assert [look.bound for look in looks] == pytest.approx(case["z"], abs=2e-3)
