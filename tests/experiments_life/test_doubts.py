"""A sample that is not to be believed: no stage, no win and no promotion come from it, harm still takes users back."""

import re
from dataclasses import replace
from datetime import timedelta
from typing import Any

import numpy as np
import pytest

from serving.rollout.experiment.analysis import analyse
from serving.rollout.experiment.arrivals import missing
from serving.rollout.experiment.doubts import imbalance
from serving.rollout.experiment.evidence import Arrived, Evidence, EvidenceQuery, Quality
from serving.rollout.experiment.spec import ExperimentSpec
from serving.rollout.experiment.state import Look, Outcome, State
from serving.rollout.statistics.moments import Moments
from tests.experiments_life.worlds import START, Life, spec_of

CLICKS = {"name": "clicks", "numerator": {"event": "click", "aggregate": "count"}}
SPEC = spec_of(primaryMetric=CLICKS)


def users(seed: int, count: int, lift: float = 0.0, keener: float = 0.0) -> dict[str, Any]:
    draw = np.random.default_rng(seed)
    keen = draw.gamma(2.0, 1.0 + keener, count)
    return {"click_count": draw.poisson(keen * (1 + lift)), "click_count_before": draw.poisson(3 * keen)}


def evidence_of(lift: float = 0.0, *, count: int = 5000, keener: float = 0.0, **changes: Any) -> Evidence:
    sums = {
        "stable": Moments.of(users(1, count)),
        "candidate": Moments.of(users(2, count, lift, keener)),
    }
    return replace(Evidence(START, {arm: each.count for arm, each in sums.items()}, sums, sums), **changes)


def look_at(evidence: Evidence, spec: ExperimentSpec = SPEC, **fields: Any) -> Look:
    state = State(since=START, salt="s", **{"watched": 12 * 3600.0, **fields})
    return analyse(spec, evidence, state, START)


def test_a_sound_sample_leaves_no_doubt_and_wins() -> None:
    look = look_at(evidence_of(0.2, quality=Quality(switched=9)))
    assert look.doubts == ()
    assert look.outcome is Outcome.WIN


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"quality": Quality(switched=200)}, r"^200 of 10,200 users \(2.0%\) were exposed in both arms, more than 1%"),
        ({"exposed": {"stable": 5000, "candidate": 4500}}, r"^the arms' sizes do not fit equal shares"),
        ({"keener": 0.2}, r"^the arms differed in what their users did before the first exposure \(p "),
        (
            {"arrivals": {"click": Arrived(0, 0), "clicks": Arrived(40, 300)}},
            r"^no outcome `click` has arrived .*`clicks` \(340\) did: is the metric's event misspelt\?",
        ),
    ],
    ids=["switched", "sizes", "before", "event"],
)
def test_each_doubt_is_said_and_holds_a_win_back_but_not_harm(changes: dict[str, Any], said: str) -> None:
    (doubt,) = (look := look_at(evidence_of(0.2, **changes))).doubts
    assert re.search(said, doubt), doubt
    assert look.outcome is Outcome.PENDING
    assert "but the sample is in doubt" in look.because
    over = look_at(evidence_of(0.2, **changes), watched=3 * 86_400.0)
    assert over.outcome is Outcome.INCONCLUSIVE
    assert look_at(evidence_of(-0.5, **changes)).outcome is Outcome.HARM


@pytest.mark.parametrize(("switched", "doubted"), [(9, False), (10, True), (100, True)])
def test_switched_users_are_a_doubt_from_ten_and_one_in_a_hundred_on(switched: int, doubted: bool) -> None:
    assert bool(look_at(evidence_of(count=400, quality=Quality(switched=switched))).doubts) is doubted
    many = look_at(evidence_of(count=20 * switched + 5000, quality=Quality(switched=switched)))
    assert bool(many.doubts) is (switched / (40 * switched + 10_000 + switched) > 0.01)


def test_arms_alike_before_are_seldom_called_different_however_often_it_is_looked_at() -> None:
    """Promised: at most ratioAlpha (0.001) over all looks; 40 experiments of 20 looks each."""
    draw, alarms = np.random.default_rng(3), 0
    for _ in range(40):
        sums = {arm: Moments.empty(("click_count", "click_count_before")) for arm in ("stable", "candidate")}
        least = 1.0
        for _ in range(20):
            for arm in sums:
                sums[arm] = sums[arm] + Moments.of(users(int(draw.integers(1 << 30)), 200))
            least = min(least, imbalance(SPEC, replace(evidence_of(count=10), moments=sums)))
        alarms += least <= SPEC.analysis.ratio_alpha
    assert alarms == 0


def test_a_doubt_of_before_stays() -> None:
    """As of the arms' sizes the smallest p-value counts: a later look cannot take it back."""
    assert look_at(evidence_of(0.2), before_least_p=1e-6).doubts


def test_without_a_time_before_there_is_nothing_to_compare() -> None:
    spec = spec_of(primaryMetric={**CLICKS, "cuped": False})
    sums = {arm: Moments.of({"click_count": users(1, 500)["click_count"]}) for arm in ("stable", "candidate")}
    assert imbalance(spec, replace(evidence_of(), moments=sums)) == 1.0


class _Faulty:
    """Metrics whose evidence is changed while `on`."""

    def __init__(self, life: Life, **changes: Any) -> None:
        self.metrics, self.changes, self.on = life.metrics, changes, True

    def __getattr__(self, name: str) -> Any:
        return getattr(self.metrics, name)

    def evidence(self, query: EvidenceQuery) -> Evidence:
        found = self.metrics.evidence(query)
        return replace(found, **self.changes) if self.on else found


def test_a_doubted_sample_holds_stages_and_win_until_it_is_sound_again() -> None:
    life = Life()
    faulty = life.ports["metrics"] = _Faulty(life, quality=Quality(switched=500))
    state = life.run(hours=12)
    assert (state.phase, state.stage) == ("Running", 0)
    assert [each.reason for each in state.log].count("SampleDoubted") == 1
    assert "No stage and no win while the sample is in doubt: 500 of " in state.message
    faulty.on = False
    state = life.run(hours=40)
    assert state.phase == "Promoted"
    assert "SampleTrusted" in [each.reason for each in state.log]


def test_a_doubted_sample_ends_inconclusive_and_harm_rolls_back() -> None:
    for clicks, phase in (((0.30, 0.40), "Inconclusive"), ((0.40, 0.30), "RolledBack")):
        life = Life()
        life.metrics.clicks = clicks
        life.ports["metrics"] = _Faulty(life, quality=Quality(switched=500))
        assert life.run(hours=80).phase == phase


def test_an_approved_winner_waits_while_its_sample_is_doubted() -> None:
    life = Life(spec=spec_of(promotion="manual"))
    life.run_to("WaitingForApproval")
    faulty = life.ports["metrics"] = _Faulty(life, quality=Quality(switched=500))
    life.pass_time(timedelta(hours=2))
    assert "SampleDoubted" in [each.reason for each in life.run(hours=0.5).log]
    life.spec = spec_of(promotion="manual", approved=True)
    state = life.run(hours=5)
    assert state.phase == "WaitingForApproval"
    assert "No stage and no win while the sample is in doubt" in state.message
    faulty.on = False
    assert life.run(hours=40).phase == "Promoted"


PURCHASE = spec_of(
    primaryMetric={"name": "buys", "numerator": {"event": "purchse", "aggregate": "any"}},
    secondaryMetrics=[{"name": "views", "numerator": {"event": "page_veiw", "aggregate": "count"}}],
)


def arriving(**arrivals: Arrived) -> Evidence:
    sums = {arm: Moments.empty(("purchse_any",)) for arm in ("stable", "candidate")}
    return Evidence(START, {"stable": 150, "candidate": 150}, sums, sums, arrivals=arrivals)


def test_a_misspelt_event_names_the_nearest_that_did_arrive() -> None:
    found = missing(PURCHASE, arriving(purchase=Arrived(9, 700), page_view=Arrived(300, 9000), like=Arrived(50, 90)))
    assert list(found) == ["purchse", "page_veiw"]
    assert "`purchase` (709) did: is the metric's event misspelt?" in found["purchse"]
    assert "`page_view` (9,300) did" in found["page_veiw"]


def test_only_events_that_decide_hold_the_experiment() -> None:
    evidence = evidence_of(0.2, arrivals={"click": Arrived(500, 900), "page_view": Arrived(9, 900)})
    spec = spec_of(primaryMetric=CLICKS, secondaryMetrics=[PURCHASE.secondary_metrics[0].model_dump(by_alias=True)])
    sums = {
        arm: Moments.of(
            {**users(seed, 5000, lift), "page_veiw_count": np.zeros(5000), "page_veiw_count_before": np.zeros(5000)}
        )
        for arm, seed, lift in (("stable", 1, 0.0), ("candidate", 2, 0.2))
    }
    look = look_at(replace(evidence, moments=sums, triggered=sums), spec)
    assert list(look.missing) == ["page_veiw"]
    assert look.doubts == ()
    assert look.outcome is Outcome.WIN


def test_outcomes_of_other_ids_are_told_from_a_misspelt_event() -> None:
    found = missing(PURCHASE, arriving(purchse=Arrived(0, 4000), page_veiw=Arrived(2, 5000)))
    assert found["purchse"].startswith("4,000 outcomes `purchse` are of users who were never exposed and 0 of the 300")
    assert "session or device" in found["page_veiw"]


def test_a_rare_event_or_few_users_are_no_fault_yet() -> None:
    sound = {"page_veiw": Arrived(400, 3600)}
    assert missing(PURCHASE, arriving(purchse=Arrived(0, 90), **sound)) == {}
    assert missing(PURCHASE, arriving(purchse=Arrived(1, 10), **sound)) == {}
    assert missing(PURCHASE, arriving(like=Arrived(50, 90), **sound)) == {}  # nothing alike, and 300 users
    few = replace(arriving(purchase=Arrived(9, 700), **sound), exposed={"stable": 40, "candidate": 40})
    assert missing(PURCHASE, few) == {}


def test_without_a_like_name_a_thousand_users_tell_what_arrives_instead() -> None:
    many = {"exposed": {"stable": 600, "candidate": 600}}
    found = missing(PURCHASE, replace(arriving(like=Arrived(50, 90), page_veiw=Arrived(400, 3600)), **many))
    assert found["purchse"].endswith("what arrives is `page_veiw` (4,000), `like` (140)")
    found = missing(PURCHASE, replace(arriving(), **many))
    assert found["purchse"].endswith("outcomes of no other name arrive either")


def test_a_source_of_sums_tells_columns_that_are_zero_for_everybody() -> None:
    sums = {
        arm: Moments.of({"purchse_any": np.zeros(600), "page_veiw_count": np.ones(600)})
        for arm in ("stable", "candidate")
    }
    found = missing(PURCHASE, Evidence(START, {"stable": 600, "candidate": 600}, sums, sums))
    assert list(found) == ["purchse"]
    assert found["purchse"].startswith("`purchse_any` is 0 for each of 1,200 users: does the query name the event")


def test_a_misspelt_event_is_told_within_hours_and_holds_the_first_stage() -> None:
    life = Life()
    life.metrics.rate = 20_000.0
    seen = {"click": Arrived(0, 0), "clicks": Arrived(10, 200)}
    life.ports["metrics"] = _Faulty(life, arrivals=seen)
    state = life.run(hours=4)
    told = next(each for each in state.log if each.reason == "EventMissing")
    assert told.warning
    assert (told.at - START).total_seconds() < 3 * 3600
    assert state.stage == 0
    assert life.notices.told.count("EventMissing") == 1
