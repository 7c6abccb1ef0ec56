"""Whole lives of an experiment, by the controller's own steps in a world in memory."""

from datetime import timedelta
from typing import Any

import pytest

from serving.rollout.experiment.durations import length
from serving.rollout.experiment.observe import evidence_query
from serving.rollout.experiment.ports import RefusedError, RetryError
from serving.rollout.experiment.reconcile import finish
from serving.rollout.experiment.state import Phase
from serving.rollout.experiment.world import World
from serving.rollout.statistics.winsor import CapRule
from tests.experiments_life.worlds import NAME, UID, Life, spec_of


def reasons(life: Life) -> list[str]:
    return [entry.reason for entry in life.state.log]


def test_a_better_candidate_goes_through_all_stages_and_replaces_stable():
    life = Life()
    state = life.run()
    assert state.phase is Phase.PROMOTED, state.message
    assert reasons(life) == [
        "Started", "BundleVerified", "StageBegan", "StageBegan", "Promoting", "PromotionBegan", "Promoted", "Ended",
    ]  # fmt: skip
    assert life.notices.told == reasons(life)
    assert [(each.share, each.everyone, each.revision) for each in life.assignments.history] == [
        (500, None, 1), (5000, None, 2), (5000, "candidate", 3),
    ]  # fmt: skip
    assert life.published is None
    assert not life.cluster.deployed
    assert life.cluster.promoted_steps == 3
    assert life.cluster.warmed == 1


def test_a_win_needs_the_minimum_time():
    life = Life()
    life.run_to(Phase.PROMOTING)
    assert life.state.watched >= 6 * 3600
    assert "needs minimumTime" in life.state.looks[-2].because


def test_a_report_ends_won_with_the_command_that_would_promote():
    life = Life(spec_of(promotion="report"))
    state = life.run()
    assert state.phase is Phase.WON
    assert "helm upgrade sightline" in state.message
    assert life.cluster.promoted_steps == 0
    assert life.published is None


def test_a_manual_promotion_waits_for_approval_with_shares_as_they_are():
    life = Life(spec_of(promotion="manual"))
    life.run_to(Phase.WAITING)
    for _ in range(30):
        life.step()
        life.pass_time(timedelta(hours=1))
    assert life.state.phase is Phase.WAITING
    assert life.published is not None
    assert life.published.share == 5000
    life.spec = spec_of(promotion="manual", approved=True)
    assert life.run().phase is Phase.PROMOTED


def test_a_worse_candidate_is_rolled_back_before_the_minimum_time():
    life = Life(spec_of(analysis__minimumTime="1d"))
    life.metrics.clicks = (0.40, 0.30)
    state = life.run()
    assert (state.phase, state.reason) == (Phase.ROLLED_BACK, "Harm")
    assert state.watched < 24 * 3600
    assert "worse" in state.message
    assert life.published is None
    assert not life.cluster.deployed


def test_no_difference_ends_inconclusive_and_says_what_is_excluded():
    life = Life()
    life.metrics.clicks = (0.3, 0.3)
    state = life.run(hours=80)
    assert (state.phase, state.reason) == (Phase.INCONCLUSIVE, "NoVerdict")
    assert "Effects above +" in state.message
    assert "below -" in state.message
    assert state.watched >= 2 * 86_400


def test_a_breached_guardrail_takes_users_back_in_the_same_step():
    life = Life()
    life.run_to(Phase.RUNNING)
    life.pass_time(timedelta(minutes=5))
    life.guardrails.value = 0.05
    life.step()
    assert (life.state.phase, life.state.reason) == (Phase.STOPPING, "GuardrailBreached")
    assert life.published is None
    back = life.clock.time
    while life.cluster.deployed:
        life.pass_time(timedelta(seconds=5))
        life.step()
    assert life.clock.time - back >= timedelta(seconds=15), "the candidate stays until transformers took notice"
    assert life.run().phase is Phase.ROLLED_BACK
    assert "failures is 0.05, above its limit 0.01" in life.state.message


def test_a_logger_that_loses_exposures_is_found():
    life = Life()
    life.metrics.loses = 0.15
    state = life.run()
    assert (state.phase, state.reason) == (Phase.ROLLED_BACK, "SampleRatioMismatch")
    assert "no metric of this experiment can be believed" in state.message


@pytest.mark.parametrize("without", ["guardrails", "metrics", "values"])
def test_without_data_no_stage_follows_and_users_go_back_after_the_limit(without):
    life = Life()
    life.run_to(Phase.RUNNING)
    life.pass_time(timedelta(minutes=10))
    if without == "guardrails":
        life.guardrails.away = True
    elif without == "metrics":
        life.metrics.away = True
    else:
        life.guardrails.value = None
    state = life.run(step=timedelta(minutes=10))
    assert (state.phase, state.reason) == (Phase.ROLLED_BACK, "NoData")
    assert len(life.assignments.history) == 1
    assert "no data is no pass" in state.message
    assert "DataMissing" in reasons(life)


def test_exposures_that_nobody_records_are_no_data():
    life = Life(spec_of(guardrails=[], evidence={"collector": "http://collector"}))
    life.metrics.rate = 0.0
    state = life.run(step=timedelta(minutes=10))
    assert (state.phase, state.reason) == (Phase.ROLLED_BACK, "NoData")
    assert "0 exposures on stable" in state.message


def test_the_first_exposures_end_the_wait_for_data_before_the_next_look_is_due():
    life = Life(spec_of(guardrails=[], evidence={"collector": "http://collector"}, analysis__noDataLimit="30m"))
    rate, life.metrics.rate = life.metrics.rate, 0.0
    life.run_to(Phase.RUNNING)
    for _ in range(3):
        life.pass_time(timedelta(minutes=3))
        life.step()
    assert life.state.few is not None
    assert life.state.blind is None, "the collector answers: nobody came so far"
    life.metrics.rate = rate
    life.pass_time(timedelta(minutes=3))
    life.step()
    assert life.state.few is None
    assert len(life.state.looks) == 1
    assert life.run().phase is Phase.PROMOTED


def test_data_that_comes_back_in_time_changes_nothing():
    life = Life()
    life.run_to(Phase.RUNNING)
    life.pass_time(timedelta(minutes=5))
    life.guardrails.away = True
    for _ in range(4):
        life.step()
        life.pass_time(timedelta(minutes=5))
    life.guardrails.away = False
    assert life.run().phase is Phase.PROMOTED
    assert reasons(life).count("DataMissing") == reasons(life).count("DataBack") == 1


def test_a_candidate_that_is_lost_keeps_its_share_and_is_rolled_back_after_the_limit():
    life = Life()
    life.run_to(Phase.RUNNING)
    life.pass_time(timedelta(minutes=5))
    life.cluster.dead = True
    life.step()
    assert life.published is not None
    assert life.state.reason == "CandidateNotReady"
    state = life.run(step=timedelta(minutes=10))
    assert (state.phase, state.reason) == (Phase.ROLLED_BACK, "CandidateLost")
    assert len(life.assignments.history) == 1


def test_a_candidate_that_comes_back_goes_on():
    life = Life()
    life.run_to(Phase.RUNNING)
    life.cluster.dead = True
    for _ in range(3):
        life.pass_time(timedelta(minutes=5))
        life.step()
    life.cluster.dead = False
    assert life.run().phase is Phase.PROMOTED
    assert "CandidateBack" in reasons(life)


def test_a_candidate_that_never_starts_is_rejected():
    life = Life()
    life.cluster.dead = True
    state = life.run(step=timedelta(minutes=10))
    assert (state.phase, state.reason) == (Phase.REJECTED, "CandidateNeverReady")
    assert not life.assignments.history
    assert not life.cluster.deployed


def test_a_candidate_whose_pods_fail_is_rejected():
    life = Life()
    life.cluster.failed = True
    state = life.run()
    assert (state.phase, state.reason) == (Phase.REJECTED, "CandidateFailed")


def test_a_bundle_that_cannot_be_used_is_rejected():
    life = Life()
    life.bundles.refusal = "model.onnx has another sha256"
    state = life.run()
    assert (state.phase, state.reason) == (Phase.REJECTED, "Refused")
    assert "model.onnx has another sha256" in state.message


def test_users_wait_for_a_candidate_that_is_warm():
    life = Life()
    life.cluster.cold = RetryError("no scores came back")
    for _ in range(20):
        life.step()
        life.pass_time(timedelta(seconds=10))
    assert life.state.phase is Phase.PREPARING
    assert "being warmed. No answer: no scores came back" in life.state.message
    life.cluster.cold = None
    assert life.run().phase is Phase.PROMOTED


def test_a_candidate_whose_scores_are_refused_is_rejected():
    life = Life()
    life.cluster.cold = RefusedError("scores are NaN")
    state = life.run()
    assert (state.phase, state.reason) == (Phase.REJECTED, "Refused")
    assert "scores are NaN" in state.message


def test_a_cluster_that_refuses_for_good_rejects():
    life = Life()
    life.cluster.deploy_refusal = "quota: no more pods"
    for _ in range(10):
        life.step()
        life.pass_time(timedelta(minutes=1))
    assert (life.state.phase, life.state.reason) == (Phase.REJECTED, "Refused")
    assert "quota" in life.state.message


def test_a_second_experiment_on_the_model_is_refused_before_anything_is_done():
    life = Life()
    life.cluster.other = "older"
    step = life.step()
    assert (step.state.phase, step.state.reason, step.wait) == (Phase.REJECTED, "AnotherExperiment", None)
    assert not life.cluster.deployed
    assert life.bundles.verified == 0


def test_shadow_comes_before_users():
    life = Life(spec_of(schedule__shadowShare=20, schedule__shadowHold="2h"))
    assert life.run().phase is Phase.PROMOTED
    first, second, *_ = life.assignments.history
    assert (first.share, first.shadow, first.revision) == (0, 2000, 1)
    assert (second.share, second.shadow, second.revision) == (500, 0, 2)


def test_an_abort_ends_everything_at_any_phase():
    for phase in (Phase.PREPARING, Phase.SHADOW, Phase.RUNNING, Phase.WAITING, Phase.PROMOTING):
        shadowed = {"schedule__shadowShare": 20} if phase is Phase.SHADOW else {}
        promotion = "manual" if phase is Phase.WAITING else "automatic"
        life = Life(spec_of(promotion=promotion, **shadowed))
        life.run_to(phase)
        life.spec = spec_of(promotion=promotion, aborted=True, **shadowed)
        state = life.run()
        assert (state.phase, state.reason) == (Phase.ABORTED, "Aborted"), phase
        assert life.published is None
        assert not life.cluster.deployed
        assert life.cluster.promoted_steps == 0


def test_an_abort_before_it_began_leaves_nothing():
    life = Life(spec_of(aborted=True))
    assert life.run().phase is Phase.ABORTED
    assert not life.assignments.history


def test_a_promotion_that_has_begun_goes_on_although_it_is_aborted():
    life = Life()
    life.run_to(Phase.PROMOTING)
    life.pass_time(timedelta(minutes=1))
    life.step()
    assert life.state.promotion_begun
    life.spec = spec_of(aborted=True)
    assert life.run().phase is Phase.PROMOTED


def test_a_promotion_that_is_refused_waits_and_goes_on_or_is_aborted():
    life = Life()
    life.run_to(Phase.PROMOTING)
    life.cluster.promotion_refusal = "needs ranker.inferenceService.storage: kserve"
    for _ in range(5):
        life.pass_time(timedelta(minutes=1))
        life.step()
    assert life.state.phase is Phase.PROMOTING
    assert reasons(life).count("PromotionRefused") == 1
    assert life.published is not None
    assert life.published.everyone == "candidate"
    life.cluster.promotion_refusal = ""
    assert life.run_to(Phase.PROMOTED)
    assert "PromotionGoesOn" in reasons(life)


def test_a_refused_promotion_can_be_aborted():
    life = Life()
    life.run_to(Phase.PROMOTING)
    life.cluster.promotion_refusal = "needs ranker.inferenceService.storage: kserve"
    for _ in range(3):
        life.step()
        life.pass_time(timedelta(minutes=1))
    life.spec = spec_of(aborted=True)
    assert "spec.aborted is set" in life.run_to(Phase.ABORTED).message


def test_paused_keeps_stages_and_wins_back_and_lets_guardrails_act():
    life = Life()
    life.run_to(Phase.RUNNING)
    life.spec = spec_of(paused=True)
    for _ in range(60):
        life.step()
        life.pass_time(timedelta(minutes=20))
    assert (life.state.phase, life.state.stage) == (Phase.RUNNING, 0)
    life.guardrails.value = 0.5
    life.step()
    assert life.state.reason == "GuardrailBreached"


def test_a_win_found_while_paused_is_acted_on_when_resumed():
    life = Life()
    life.metrics.clicks = (0.3, 0.3)
    life.run_to(Phase.RUNNING)
    life.run(hours=8)
    life.metrics.clicks = (0.3, 0.4)
    life.spec = spec_of(paused=True)
    for _ in range(60):
        life.step()
        life.pass_time(timedelta(minutes=20))
    assert life.state.outcome == "win"
    life.spec = spec_of()
    life.step()
    assert life.state.phase is Phase.PROMOTING
    assert "Resumed" in reasons(life)


def test_a_hotfix_of_stable_ends_the_comparison():
    life = Life()
    life.run_to(Phase.RUNNING)
    life.pass_time(timedelta(minutes=5))
    life.cluster.stable_bundle = "s3://models/ranker/6-hotfix"
    life.step()
    assert life.published is None
    state = life.run()
    assert (state.phase, state.reason) == (Phase.ABORTED, "StableChanged")
    assert "6-hotfix" in state.message


def test_an_edit_of_the_comparison_is_refused_and_the_experiment_goes_on_as_it_began():
    life = Life()
    life.run_to(Phase.RUNNING)
    life.spec = spec_of(candidate__bundle="s3://models/ranker/8", analysis__alpha=0.2)
    life.step()
    assert "spec.analysis.alpha, spec.candidate.bundle" in life.state.change_refused
    assert life.assignments.history[-1].arms[0].bundle == "s3://models/ranker/7"
    assert life.run().phase is Phase.PROMOTED
    assert reasons(life).count("ChangeRefused") == 1
    assert life.state.looks[-1].primary.level == 0.95


def test_stages_to_come_may_change_and_those_passed_may_not():
    life = Life()
    life.run_to(Phase.RUNNING)
    stages = [{"share": 5, "hold": "30m"}, {"share": 10, "hold": "1h"}, {"share": 20}]
    life.spec = spec_of(schedule={"stages": stages})
    life.run(hours=4)
    assert [each.share for each in life.assignments.history] == [500, 1000, 2000]
    assert not life.state.change_refused
    life.spec = spec_of(schedule={"stages": [{"share": 1}, {"share": 20}]})
    life.step()
    assert "spec.schedule.stages" in life.state.change_refused
    assert life.state.stage == 2


def test_an_assignment_without_a_state_is_withdrawn_and_the_experiment_aborted():
    life = Life()
    life.run_to(Phase.RUNNING)
    life.kept = None
    state = life.run()
    assert (state.phase, state.reason) == (Phase.ABORTED, "StateLost")
    assert life.published is None
    assert not life.cluster.deployed


def test_a_published_copy_of_a_higher_revision_is_replaced():
    life = Life()
    life.run_to(Phase.RUNNING)
    assert life.published is not None
    life.assignments.book = life.assignments.book.put(life.published.model_copy(update={"revision": 9}))
    life.step()
    assert life.state.revision == 10
    assert life.published.revision == 10


def test_an_assignment_that_somebody_deleted_is_published_again():
    life = Life()
    life.run_to(Phase.RUNNING)
    life.assignments.withdraw(UID)
    life.pass_time(timedelta(minutes=5))
    life.step()
    assert life.published is not None
    assert (life.published.share, life.published.revision) == (500, 1)


def test_a_new_address_of_the_candidate_is_a_new_revision():
    life = Life()
    life.run_to(Phase.RUNNING)
    life.kept = life.state.model_copy(update={"predictor_host": "elsewhere:9000"})
    life.step()
    assert life.published is not None
    assert life.published.arms[0].predictor_host == "ranker-candidate:9000"
    assert life.published.revision == 2


def test_a_deleted_resource_leaves_nothing_behind():
    for phase in (Phase.PREPARING, Phase.RUNNING, Phase.PROMOTING):
        life = Life()
        life.run_to(phase)
        world = World(**life.ports)
        calls = 0
        while not finish(NAME, UID, life.spec, life.kept, world):
            assert life.published is None or life.state.promotion_begun
            calls += 1
            assert calls < 10
        assert life.published is None
        assert not life.cluster.deployed


def test_a_promotion_in_the_middle_is_done_before_the_resource_goes():
    life = Life()
    life.run_to(Phase.PROMOTING)
    while life.cluster.promoted_steps < 1:
        life.pass_time(timedelta(minutes=1))
        life.step()
    world = World(**life.ports)
    for _ in range(10):
        if finish(NAME, UID, life.spec, life.kept, world):
            break
    assert life.cluster.promoted_steps == 3
    assert life.published is None


def test_caps_are_read_before_the_first_user():
    life = summed()
    life.metrics.away = True
    for _ in range(10):
        life.step()
        life.pass_time(timedelta(minutes=1))
    assert life.state.phase is Phase.PREPARING
    assert "caps" in life.state.message
    life.metrics.away = False
    life.run_to(Phase.RUNNING)
    assert life.state.caps == {"click_sum": 10.0, "click_sum_before": 140.0}


def test_once_or_not_at_all_for_a_user_needs_no_cap():
    life = Life(spec_of(primaryMetric__capQuantile=0.99))
    life.run_to(Phase.RUNNING)
    assert (life.state.caps, life.metrics.caps_asked) == ({}, [])


def summed(**changes: Any) -> Life:
    metric = {"name": "clicks", "numerator": {"event": "click"}, "capQuantile": 0.99}
    return Life(spec_of(primaryMetric={**metric, **changes}))


def test_caps_are_of_windows_like_the_experiments_and_the_covariate_has_its_own():
    life = summed(capLowerQuantile=0.01, capNonzero=True)
    life.run_to(Phase.RUNNING)
    (of_window, of_before), window, before = life.metrics.caps_asked, life.spec.window, timedelta(days=14)
    rule = CapRule(0.99, 0.01, nonzero=True)
    (column,) = life.spec.columns()
    assert (of_window[0], of_before[0]) == ({column: rule}, {column: rule})
    assert (of_window[2], of_before[2]) == (window, None)
    assert of_window[1][1] - of_window[1][0] == before + window
    assert of_before[1][1] - of_before[1][0] == before
    assert life.state.caps == {"click_sum": 10.0, "click_sum_before": 140.0}
    assert life.state.floors == {"click_sum": -1.0, "click_sum_before": -1.0}
    query = evidence_query(NAME, UID, life.spec, life.state, life.clock.now())
    assert (query.caps, query.floors) == (life.state.caps, life.state.floors)
    (told,) = [each for each in life.state.log if each.reason == "CapsRead"]
    assert "click_sum at most 10, click_sum_before at most 140, click_sum at least -1" in told.message


def test_without_a_history_it_begins_uncapped_and_says_so():
    life = summed()
    life.metrics.no_history = True
    life.run_to(Phase.RUNNING)
    assert (life.state.caps, life.state.caps_read) == ({}, True)
    (told,) = [each for each in life.state.log if each.reason == "CapsRead"]
    assert told.warning
    assert "numbers are not capped" in told.message


def test_a_source_of_caps_that_never_answers_is_waited_for_within_the_start_limit():
    life = summed()
    life.metrics.away = True
    for _ in range(60):
        life.step()
        life.pass_time(timedelta(minutes=1))
    assert life.state.phase is Phase.REJECTED
    assert life.state.reason == "CapsNeverRead"
    assert "the collector does not answer" in life.state.message


@pytest.mark.parametrize(("stable", "candidate", "phase"), [(0.3, 0.0, Phase.ROLLED_BACK), (0.0, 0.3, Phase.WON)])
def test_nothing_at_all_in_an_arm_is_decided_long_before_the_maximum_time(stable, candidate, phase):
    life = Life(spec_of(promotion="report"))
    life.metrics.clicks = (stable, candidate)
    state = life.run(step=timedelta(minutes=10))
    assert state.phase is phase
    assert state.watched < length(life.spec.analysis.maximum_time).total_seconds() / 2
    assert state.looks[-1].primary.absolute == pytest.approx(candidate - stable, abs=1e-3)
