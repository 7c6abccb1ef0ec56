"""The users that a plan asks for find the effect as often as it promises, in even arms and in uneven ones."""

from collections import Counter
from math import sqrt

import numpy as np
import pytest
from scipy import stats

from models.experiments import assignment
from models.experiments.assignment import Arm, Assignment
from serving.rollout.planning import plan
from serving.rollout.statistics.effect import Metric, Ratio, effect
from serving.rollout.statistics.moments import Moments
from serving.rollout.statistics.plan import Method, Reading, Spread, Traffic, detectable
from serving.rollout.statistics.ramp import Ramp, Reach, Step

RUNS, USERS, POWER = 400, 8000, 0.8
FIXED = Reading(Method.FIXED_HORIZON, alpha=0.05, power=POWER)
Z = float(stats.norm.ppf(0.975))


def found_in(sizes: tuple[int, int], wanted: float) -> float:
    """How often the product's analysis excludes 0, of a metric with mean 1, deviation 1 and that effect."""
    draw, hits = np.random.default_rng(11), 0
    for _ in range(RUNS):
        stable, candidate = (
            Moments.of({"spend": draw.gamma(1.0, 1.0, size) + lift})
            for size, lift in zip(sizes, (0.0, wanted), strict=True)
        )
        ends = effect(Metric(Ratio("spend")), stable, candidate).absolute_interval(Z)
        hits += not ends.low <= 0 <= ends.high
    return hits / RUNS


@pytest.mark.parametrize("share", [0.5, 0.2, 0.05])
def test_uneven_arms_have_the_power_that_their_plan_promises(share: float) -> None:
    sizes = (round(USERS * (1 - share)), round(USERS * share))
    wanted = detectable(
        Traffic((USERS,), 1 - share, share), Spread(1.0), 1, alpha=0.05, power=POWER, method=Method.FIXED_HORIZON
    )
    by_hand = (Z + stats.norm.ppf(POWER)) * sqrt(1 / sizes[0] + 1 / sizes[1])
    assert wanted == pytest.approx(by_hand, rel=1e-3)
    assert found_in(sizes, wanted) == pytest.approx(POWER, abs=3 * sqrt(POWER * (1 - POWER) / RUNS))


def test_a_small_share_has_the_power_that_its_plan_promises() -> None:
    """5 % of users in the candidate: they are compared with as many of stable, not with the other 95 %."""
    reach, ramp = Reach.of(daily=60_000, monthly=60_000), Ramp((Step(0.05, 0),))
    made = plan(reach=reach, spread=Spread(1.0), ramp=ramp, reading=FIXED, days=3, wanted=0.07)
    assert made.users == pytest.approx(0.05 * 60_000)
    assert made.users_needed == pytest.approx(2 * ((Z + stats.norm.ppf(POWER)) / 0.07) ** 2, rel=1e-3)
    assert made.costs.uneven == pytest.approx((1 / 0.95 + 1 / 0.05) / 4)
    needed = round(made.users_needed or 0)
    assert found_in((needed, needed), 0.07) == pytest.approx(POWER, abs=3 * sqrt(POWER * (1 - POWER) / RUNS))


@pytest.mark.parametrize("share", [1, 500, 2000, 5000])
def test_arms_are_equally_large_at_every_share(share: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(assignment, "bucket", lambda _, user_id: int(user_id))
    sha = "sha256:" + "0" * 64
    arm = Arm(name="new", predictor_host="h", model="m", bundle="b", bundle_id=sha, contract_digest=sha)
    given = Assignment(
        experiment="e", uid="u", revision=1, model="m", salt="saltsalt", arms=(arm,), share=share, shadow=0
    )
    places = [given.place(str(each)) for each in range(assignment.BUCKETS)]
    assert Counter(each.arm for each in places if each.enrolled) == {"stable": share, "new": share}
