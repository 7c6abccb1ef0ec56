"""Senders that are unlike all others: seldom called so by chance, never for a real effect, and found when they lie."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy.stats import chi2_contingency

from serving.rollout.experiment.analysis import analyse
from serving.rollout.experiment.evidence import OTHERS, OWN, BySender, Evidence, EvidenceQuery
from serving.rollout.experiment.spec import ExperimentSpec
from serving.rollout.experiment.state import Look, Outcome, State
from serving.rollout.statistics.moments import Moments
from serving.rollout.statistics.portions import portion
from tests.experiments_life.worlds import START, Life, spec_of

REVENUE = {"name": "revenue", "numerator": {"event": "spend", "aggregate": "sum"}, "cuped": False}
SPEC = spec_of(primaryMetric=REVENUE, analysis__plannedUsers=4000)
WHO = {"own": [1, 0, 0], "others": [0, 1, 0]}
Values = list[dict[str, Any]]
"""By arm, stable first: by sender, each user's values of its outcomes, [users] of counts and of sums."""


def honest(draw: np.random.Generator, users: int, rate: float, lift: float) -> tuple[Any, Any]:
    count = draw.poisson(rate * (1 + lift) * draw.gamma(2.0, 0.5, users))
    return count, count * draw.lognormal(0.0, 1.0, users)


def evidence_of(arms: Values) -> Evidence:
    """From each sender's counts and sums of every user."""
    names = list(arms[0])
    total: dict[str, Moments] = {}
    parts: dict[str, dict[str, Moments]] = {name: {} for name in names}
    without: dict[str, dict[str, Moments]] = {name: {} for name in names}
    for arm, by in zip(("stable", "candidate"), arms, strict=True):
        count, sums = (sum(by[name][at] for name in names) for at in (0, 1))
        total[arm] = Moments.of({"spend_sum": sums})
        for name in names:
            own, value = by[name]
            made = {OWN + "spend_count": own, OTHERS + "spend_count": count - own}
            parts[name][arm] = Moments.of({**made, OWN + "spend_sum": value, OTHERS + "spend_sum": sums - value})
            without[name][arm] = Moments.of({"spend_sum": sums - value})
    sent = tuple(BySender(name, parts[name], without[name]) for name in names)
    return Evidence(START, {arm: each.count for arm, each in total.items()}, total, total, senders=sent)


def look_at(evidence: Evidence, spec: ExperimentSpec = SPEC) -> Look:
    return analyse(spec, evidence, State(since=START, salt="s", watched=12 * 3600.0), START)


def drawn(seed: int, lift: float, users: int = 2000) -> Values:
    draw = np.random.default_rng(seed)
    return [{"shop": honest(draw, users, 0.5, each), "app": honest(draw, users, 0.1, each)} for each in (0.0, lift)]


@pytest.mark.parametrize("lift", [0.0, 0.5, -0.5])
def test_honest_senders_are_seldom_called_unlike_whatever_the_effect_and_however_often_it_is_looked(
    lift: float,
) -> None:
    """Promised: at most ratioAlpha (0.001) over all looks; 20 experiments of 6 looks each, values with a long tail."""
    called = 0
    for seed in range(20):
        arms = drawn(seed, lift, users=1500)
        looks = [
            evidence_of([{name: (c[:n], s[:n]) for name, (c, s) in arm.items()} for arm in arms])
            for n in range(250, 1501, 250)
        ]
        called += any(look_at(each).unlike for each in looks)
    assert called == 0


def test_false_values_in_equally_many_outcomes_are_found() -> None:
    """As many outcomes of either arm, so that counts say nothing: only their values differ."""
    arms = drawn(7, 0.0)
    for arm, value in zip(arms, (1.0, 6.0), strict=True):
        false = (np.arange(2000) % 5 == 0) * 1.0
        arm["partner"] = (false, false * value)
    look = look_at(evidence_of(arms))
    assert look.outcome is not Outcome.WIN
    assert len([each for each in look.doubts if "sender `partner`" in each]) == len(look.doubts) == 1


def test_who_lies_in_a_win_that_stands_without_it_is_named_and_holds_nothing() -> None:
    arms = drawn(3, 0.6)
    for arm, false in zip(arms, (0, 300), strict=True):
        count = (np.arange(2000) < false) * 1.0
        arm["partner"] = (count, count)
    look = look_at(evidence_of(arms))
    assert (look.outcome, look.doubts) == (Outcome.WIN, ())
    assert "sender `partner` are unlike all others' (0 `spend` in stable and 300 in the candidate" in look.unlike[0]


def false_win() -> Evidence:
    arms = drawn(11, 0.0)
    for arm, false in zip(arms, (0, 600), strict=True):
        count = (np.arange(2000) < false) * 1.0
        arm["partner"] = (count, count * 2)
    return evidence_of(arms)


def test_a_site_may_have_it_reported_alone() -> None:
    spec = spec_of(primaryMetric=REVENUE, analysis__plannedUsers=4000, analysis__unusualSenders="report")
    held, reported = look_at(false_win()), look_at(false_win(), spec)
    assert held.outcome is Outcome.PENDING
    assert (reported.outcome, reported.doubts) == (Outcome.WIN, ())
    assert reported.unlike == held.unlike
    assert "`partner`" in reported.unlike[0]


class _Lied:
    """Metrics that show a false win, of as many users as there are."""

    def __init__(self, life: Life, **changes: Any) -> None:
        self.metrics, self.found = life.metrics, replace(false_win(), **changes)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.metrics, name)

    def evidence(self, query: EvidenceQuery) -> Evidence:
        return replace(self.found, as_of=query.as_of, exposed=self.metrics.evidence(query).exposed)


def test_a_false_win_promotes_nothing_and_its_sender_is_told_once() -> None:
    fooled = Life(spec=SPEC)
    fooled.ports["metrics"] = _Lied(fooled, senders=())
    assert fooled.run(hours=80).phase == "Promoted"
    life = Life(spec=SPEC)
    life.ports["metrics"] = _Lied(life)
    state = life.run(hours=80)
    assert state.phase == "Inconclusive"
    (told,) = [each.message for each in state.log if each.reason == "SampleDoubted"]
    assert "sender `partner`" in told


@pytest.mark.parametrize("counts", [(200, 210, 60, 40), (500, 500, 20, 90), (300, 600, 100, 200), (80, 70, 12, 20)])
def test_a_portions_error_is_that_of_a_table_of_counts(counts: tuple[int, int, int, int]) -> None:
    """Against Pearson's test of two senders by two arms, of users who do one thing each."""
    rest, rest_right, own, own_right = counts
    arms = [
        Moments.of({name: np.repeat(did, [mine, others, 20_000 - mine - others]) for name, did in WHO.items()})
        for mine, others in ((own, rest), (own_right, rest_right))
    ]
    found = portion(*arms)
    expected = chi2_contingency([[rest, rest_right], [own, own_right]], correction=False).statistic
    assert (found.difference / found.error) ** 2 == pytest.approx(expected, rel=0.25, abs=0.05)
    assert np.sign(found.difference) == np.sign(own_right * rest - own * rest_right)
