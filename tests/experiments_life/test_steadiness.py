"""What lasts: pauses, quiet hours, candidates that come and go, promotions that somebody takes back."""

from datetime import timedelta
from itertools import pairwise

import pytest

from serving.rollout.experiment.promoting import MOST_REVERTS
from serving.rollout.experiment.state import Phase, State
from tests.experiments_life.worlds import Life, spec_of

MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)


def reasons(life: Life) -> list[str]:
    return [entry.reason for entry in life.state.log]


def steps(life: Life, count: int, length: timedelta) -> None:
    for _ in range(count):
        life.pass_time(length)
        life.step()


def running(**changes: object) -> Life:
    life = Life(spec_of(**changes))
    life.run_to(Phase.RUNNING)
    return life


def test_a_pause_uses_up_no_time_of_stage_minimum_or_maximum():
    life = running(analysis__maximumTime="12h")
    steps(life, 3, 12 * MINUTE)
    before = life.state
    life.spec = spec_of(paused=True, analysis__maximumTime="12h")
    steps(life, 5 * 24 * 5, 12 * MINUTE)  # five days
    assert (life.state.watched, life.state.stage_watched, life.state.stage) == (before.watched, before.stage_watched, 0)
    assert life.state.phase is Phase.RUNNING
    life.spec = spec_of(analysis__maximumTime="12h")
    steps(life, 1, 12 * MINUTE)
    assert life.state.stage == 0, "the stage had 24 minutes to go"
    steps(life, 3, 12 * MINUTE)
    assert life.state.stage == 1


def test_a_pause_uses_up_no_time_of_the_shadow():
    shadow = {"schedule__shadowShare": 10, "schedule__shadowHold": "1h"}
    life = Life(spec_of(**shadow))
    life.run_to(Phase.SHADOW)
    life.spec = spec_of(paused=True, **shadow)
    steps(life, 20, 12 * MINUTE)
    assert life.state.stage_watched == 0.0
    life.spec = spec_of(**shadow)
    steps(life, 3, 12 * MINUTE)
    assert life.state.phase is Phase.SHADOW


def test_too_few_rankings_hold_the_stage_for_days_and_send_nobody_back():
    life = running(analysis__maximumTime="20d")
    life.guardrails.few, life.metrics.clicks = True, (0.3, 0.3)
    steps(life, 3 * 24 * 5, 12 * MINUTE)
    assert (life.state.phase, life.state.stage, life.state.stage_watched) == (Phase.RUNNING, 0, 0.0)
    assert life.state.watched > 2 * 86_400, "the experiment's own time goes on: nothing was unseen"
    assert reasons(life).count("TooFew") == 1
    life.guardrails.few = False
    steps(life, 7, 12 * MINUTE)
    assert life.state.stage == 1
    assert "EnoughAgain" in reasons(life)


def test_quiet_nights_make_a_ramp_longer_and_nothing_else():
    life = running(analysis__maximumTime="20d", analysis__minimumTime="2d", schedule={"stages": [
        {"share": 1, "hold": "20h"}, {"share": 50},
    ]})  # fmt: skip
    life.metrics.clicks = (0.3, 0.3)
    for _ in range(3):
        for few in (False, True):
            life.guardrails.few = few
            steps(life, 12 * 5, 12 * MINUTE)
    assert life.state.phase is Phase.RUNNING
    assert life.state.stage == 1
    assert "DataMissing" not in reasons(life)


def test_a_win_waits_for_guardrails_that_can_be_read():
    life = running()
    life.guardrails.few = True
    steps(life, 60, 12 * MINUTE)
    assert (life.state.outcome, life.state.phase) == ("win", Phase.RUNNING)
    life.guardrails.few = False
    steps(life, 1, 12 * MINUTE)
    assert life.state.phase is Phase.PROMOTING


def test_a_value_above_its_limit_that_proves_nothing_only_holds_the_stage():
    life = running()
    life.guardrails.unsure, life.guardrails.value = True, 0.02
    steps(life, 20, 12 * MINUTE)
    assert (life.state.phase, life.state.stage) == (Phase.RUNNING, 0)
    life.guardrails.value = 0.001
    steps(life, 1, 12 * MINUTE)
    assert life.state.stage == 1


def test_a_query_of_ones_own_is_breached_by_readings_in_a_row_for_its_window():
    life = running(guardrails=[{"name": "queue", "kind": "query", "query": "vector(1)", "limit": 0.01, "window": "1h"}])
    life.guardrails.unsure, life.guardrails.counted = True, False
    for value in (0.5, 0.5, 0.001, 0.5, None, 0.5, 0.5, 0.5):
        life.guardrails.value = value
        steps(life, 1, 12 * MINUTE)
        assert life.state.phase is Phase.RUNNING, value
    life.guardrails.value = 0.5
    steps(life, 2, 12 * MINUTE)
    assert (life.state.phase, life.state.reason) == (Phase.STOPPING, "GuardrailBreached")


def test_nobody_at_all_for_a_day_is_no_data():
    life = Life()
    life.metrics.rate = 0.0
    life.run_to(Phase.RUNNING)
    life.guardrails.few = True
    steps(life, 20 * 5, 12 * MINUTE)
    assert life.state.phase is Phase.RUNNING, "a night is shorter"
    steps(life, 5 * 5, 12 * MINUTE)
    assert life.state.reason == "NoData"
    assert "Not one user was recorded in either arm for a day" in life.state.message


@pytest.mark.parametrize("down", [1, 3])
def test_a_candidate_that_comes_and_goes_is_rolled_back_the_same_day(down):
    """Every time it is back long before the limit of one absence."""
    life = running(analysis__maximumTime="20d", analysis__minimumTime="10d")
    for _ in range(100):
        life.cluster.dead = True
        steps(life, down, 10 * MINUTE)
        if life.state.phase is not Phase.RUNNING:
            break
        life.cluster.dead = False
        steps(life, 6, 10 * MINUTE)
    assert life.state.reason == ("CandidateUnstable" if down == 1 else "CandidateLost")
    assert "within a day" in life.state.message
    assert reasons(life).count("CandidateNotReady") <= 5
    assert life.clock.time - life.state.log[0].at < timedelta(days=1)


def test_restarts_over_weeks_are_no_flapping():
    life = running(analysis__maximumTime="20d", analysis__minimumTime="10d")
    life.metrics.clicks = (0.3, 0.3)
    for _ in range(9):
        life.cluster.dead = True
        steps(life, 1, 10 * MINUTE)
        life.cluster.dead = False
        steps(life, 24, HOUR)
    assert life.state.phase is Phase.RUNNING
    assert reasons(life).count("CandidateBack") == 9


def test_a_candidate_that_comes_and_goes_before_any_user_is_rejected():
    life = Life()
    life.spec = spec_of(paused=True)
    life.kept = Life().step().state
    for number in range(400):
        life.cluster.dead = number % 2 == 0
        life.step()
        if life.state.phase is not Phase.PREPARING:
            break
        life.pass_time(MINUTE)
    assert life.state.reason == "CandidateNeverReady"


def reverting(life: Life, times: int) -> State:
    """GitOps puts stable back whenever a step of the promotion was done."""
    life.run_to(Phase.PROMOTING)
    for _ in range(2000):
        life.pass_time(timedelta(seconds=5))
        done = life.step()
        if done.wait is None:
            break
        if life.cluster.promoted_steps and times:
            life.cluster.promoted_steps, life.cluster.stable_bundle = 0, "s3://models/ranker/6"
            times -= 1
    return life.state


def test_a_promotion_that_is_taken_back_for_ever_is_told_rests_longer_and_is_left():
    life = Life()
    state = reverting(life, 1000)
    assert (state.phase, state.reason) == (Phase.WON, "PromotionReverted")
    told = [entry for entry in state.log if entry.reason == "PromotionReverted"]
    assert len(told) == MOST_REVERTS
    assert all(entry.warning for entry in told)
    rests = [(after.at - before.at).total_seconds() for before, after in pairwise(told)]
    assert rests == sorted(rests)
    assert rests[0] >= 30
    assert rests[-1] >= 200
    assert life.published is None
    assert life.cluster.stable_bundle == "s3://models/ranker/6", "it is left as somebody wants it"
    assert "Give Git or helm the bundle s3://models/ranker/7" in state.message


def test_a_promotion_that_is_taken_back_once_goes_on():
    life = Life()
    assert reverting(life, 1).phase is Phase.PROMOTED
    assert reasons(life).count("PromotionReverted") == 1
    assert life.cluster.stable_bundle == "s3://models/ranker/7"


def test_a_state_of_an_earlier_version_is_read():
    life = running()
    steps(life, 2, 12 * MINUTE)
    kept = life.state.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    for name in ("few", "losses", "replaced", "reverts", "resting"):
        kept.pop(name, None)
    for reading in kept["readings"]:
        assert reading.keys() <= {"name", "at", "value", "limit", "breached", "detail"}
    assert State.model_validate(kept).phase is Phase.RUNNING
