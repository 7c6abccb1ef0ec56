"""Users who met what was changed, and what that means for all."""

import numpy as np
import pytest

from serving.rollout.statistics.effect import EffectError, Metric, Ratio, effect
from serving.rollout.statistics.moments import Moments
from serving.rollout.statistics.triggered import trigger

RATE = Ratio("clicks", "views")


def users(draw: np.random.Generator, count: int, lift: float = 0.0) -> Moments:
    views = draw.poisson(5 * draw.lognormal(0, 0.7, count)) + 1.0
    return Moments.of({"clicks": 0.2 * views * (1 + lift) * draw.lognormal(0, 0.5, count), "views": views})


def triggering(draw: np.random.Generator, count: int, share: float, lift: float) -> tuple[Moments, Moments]:
    views = draw.poisson(5, count) + 1.0
    met = draw.random(count) < share
    clicks = views * draw.lognormal(0, 0.5, count) * np.where(met, 1 + lift, 1.0)
    columns = {"clicks": clicks, "views": views}
    return Moments.of(columns), Moments.of({name: column[met] for name, column in columns.items()})


@pytest.mark.parametrize("value", [Ratio("clicks"), RATE])
def test_the_effect_among_the_triggered_is_diluted_to_all_with_less_noise(value: Ratio) -> None:
    draw = np.random.default_rng(7)
    arms = [triggering(draw, 20_000, 0.1, lift) for lift in (0.0, 0.2)]
    found = trigger(value, (arms[0][0], arms[1][0]), (arms[0][1], arms[1][1]))
    plain = effect(Metric(value), arms[0][0], arms[1][0])
    assert found.share == pytest.approx(0.1, abs=0.01)
    assert found.triggered.relative == pytest.approx(0.2, abs=4 * found.triggered.relative_se)
    assert found.diluted.relative == pytest.approx(0.02, abs=4 * found.diluted.relative_se)
    assert found.diluted.relative_se < 0.5 * plain.relative_se
    assert found.others is not None
    assert found.others.interval(3.5).low < 0 < found.others.interval(3.5).high
    assert not found.sizes.mismatch(0.001)


def test_the_diluted_interval_covers_the_truth_as_it_should() -> None:
    draw, inside = np.random.default_rng(8), 0
    for _ in range(200):
        arms = [triggering(draw, 600, 0.3, lift) for lift in (0.0, 0.2)]
        found = trigger(Ratio("clicks"), (arms[0][0], arms[1][0]), (arms[0][1], arms[1][1]))
        interval = found.diluted.interval(1.96)
        inside += interval.low <= 0.06 <= interval.high
    assert inside / 200 == pytest.approx(0.95, abs=3 * np.sqrt(0.05 * 0.95 / 200))


def test_all_users_may_be_triggered() -> None:
    arms = [triggering(np.random.default_rng(seed), 500, 1.0, 0.1)[0] for seed in (1, 2)]
    found = trigger(RATE, (arms[0], arms[1]), (arms[0], arms[1]))
    assert found.others is None
    assert found.diluted.relative == pytest.approx(found.triggered.relative)
    assert found.diluted.relative_se == pytest.approx(found.triggered.relative_se)


def test_triggered_users_that_are_more_than_all_are_refused() -> None:
    some, more = (users(np.random.default_rng(9), count) for count in (10, 20))
    with pytest.raises(EffectError, match="20 triggered users"):
        trigger(RATE, (some, some), (more, more))
