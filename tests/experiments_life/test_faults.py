"""Whatever fails, and wherever the controller is killed: the same end, and nobody on an unready arm."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.rollout.experiment.lapses import pace
from serving.rollout.experiment.ports import Readiness, RetryError
from serving.rollout.experiment.state import Phase, State
from tests.experiments_life.faults import Fault, Faults
from tests.experiments_life.worlds import UID, KilledError, Life, MemoryAssignments, spec_of


def slow(**changes: object) -> Life:
    """A life of few steps: half an hour each."""
    guardrail = {"name": "failures", "kind": "failures", "limit": 0.01, "window": "5h"}
    return Life(spec_of(guardrails=[guardrail], analysis__noDataLimit="5h", analysis__minimumTime="2h", **changes))


def better() -> Life:
    return slow(schedule__shadowShare=10)


def worse() -> Life:
    life = slow()
    life.metrics.clicks = (0.40, 0.33)
    return life


def reported() -> Life:
    return slow(promotion="report")


def refused() -> Life:
    life = slow()
    life.bundles.refusal = "its sha256 is another one"
    return life


def lossy() -> Life:
    life = slow()
    life.metrics.loses = 0.2
    return life


STORIES = {
    better: (Phase.PROMOTED, "Promoted"),
    worse: (Phase.ROLLED_BACK, "Harm"),
    reported: (Phase.WON, "Won"),
    refused: (Phase.REJECTED, "Refused"),
    lossy: (Phase.ROLLED_BACK, "SampleRatioMismatch"),
}


def faulty_step(life: Life, faults: Faults) -> None:
    life.cluster.newest = Readiness.ABSENT
    with suppress(KilledError):
        life.step(wrap=faults.wrap)


def watch_readiness(life: Life) -> None:
    def watch(assignment: object) -> None:
        assert life.cluster.newest is Readiness.READY, assignment

    life.assignments.watcher = watch


CHANGES = (
    "save", "assignments.publish", "assignments.withdraw", "cluster.deploy", "cluster.warm", "cluster.remove",
    "cluster.promote",
)  # fmt: skip


def eventful_calls(story: Callable[[], Life]) -> list[tuple[int, int, str]]:
    """Step, call and name of every call in the steps of a fault-free life in which something happens."""
    life, found, before = story(), [], ""
    for number in range(500):
        recorder = Faults()
        done = life.step(wrap=recorder.wrap)
        now = f"{life.state.phase} {life.state.revision} {len(life.state.log)} {life.cluster.deployed}"
        if now != before or any(name in CHANGES[1:] for name in recorder.names):
            found += [(number, call, name) for call, name in enumerate(recorder.names)]
        before = now
        if done.wait is None:
            break
        life.pass_time(done.wait)
    return found


@pytest.mark.parametrize("story", [better, worse, refused], ids=lambda story: story.__name__)
def test_a_fault_at_any_call_of_any_step_leads_to_the_same_end(story):
    faults, kinds = list(Fault), set()
    for number, call, name in eventful_calls(story):
        for fault in faults if name in CHANGES else [faults[(number + call) % 4]]:
            life = story()
            watch_readiness(life)
            for step in range(500):
                injected = Faults({call: fault} if step == number else {})
                faulty_step(life, injected)
                kinds |= set(injected.met)
                if life.kept is not None and life.state.phase.ended:
                    break
                life.pass_time(pace(life.spec, life.state.phase) if life.kept else timedelta(seconds=1))
            assert (life.state.phase, life.state.reason) == STORIES[story], (number, call, name, fault)
            assert life.published is None
            assert not life.cluster.deployed
    changed = {each.split()[0] for each in kinds} & set(CHANGES)
    assert changed == {
        better: set(CHANGES),
        refused: {"save"},
    }.get(story, set(CHANGES) - {"cluster.promote"}), kinds


@settings(max_examples=60, deadline=None)
@given(
    story=st.sampled_from(list(STORIES)),
    plans=st.lists(st.dictionaries(st.integers(0, 10), st.sampled_from(Fault), max_size=3), max_size=60),
)
def test_any_faults_lead_to_the_same_end(story, plans):
    life = story()
    watch_readiness(life)
    for plan in plans:
        faulty_step(life, Faults(plan))
        if life.kept is not None and life.state.phase.ended:
            break
        life.pass_time(timedelta(minutes=5))
    assert (life.run().phase, life.state.reason) == STORIES[story], life.state.message
    assert life.published is None
    assert not life.cluster.deployed
    revisions = [(each.share, each.shadow, each.everyone) for each in life.assignments.history]
    by_revision = dict(zip([each.revision for each in life.assignments.history], revisions, strict=True))
    assert len(by_revision) == len(set(revisions)), "a revision per change, and one only"


def test_an_arm_that_is_not_ready_gets_no_users_although_they_were_decided_for_it():
    life = Life()
    watch_readiness(life)
    while life.kept is None or life.state.phase is not Phase.RUNNING:
        life.pass_time(timedelta(seconds=10))
        life.step(wrap=lambda name, port: port if name != "assignments" else NoPublishing(port))
    assert life.published is None, "the controller was killed after it had saved the first stage"
    life.cluster.dead = True
    for _ in range(3):
        life.step()
        assert life.published is None
        life.pass_time(timedelta(minutes=5))
    life.cluster.dead = False
    life.step()
    assert life.published is not None
    life.assignments.withdraw(UID)
    life.cluster.dead = True
    life.step()
    assert life.published is None, "an assignment that somebody deleted comes back with the candidate, not before"


class NoPublishing:
    """Ends the process where users would be published."""

    def __init__(self, port: MemoryAssignments) -> None:
        self.published = port.published

    def publish(self, assignment: object) -> None:
        raise RetryError("killed")


def test_a_state_that_cannot_be_saved_changes_nothing():
    life = Life()
    life.run_to(Phase.RUNNING)
    life.pass_time(timedelta(minutes=5))
    life.guardrails.value = 0.9
    book, kept = life.assignments.book, life.kept

    def conflict(state: State) -> None:
        raise RetryError("the resource was changed by somebody else")

    step = life.step(wrap=lambda name, port: conflict if name == "save" else port)
    assert step.failure == "the resource was changed by somebody else"
    assert step.state == kept
    assert life.assignments.book == book
    assert life.notices.told[-1] == "StageBegan"


def test_a_controller_that_goes_by_an_old_copy_changes_nothing():
    life = Life()
    old = [life.run_to(phase) for phase in (Phase.PREPARING, Phase.RUNNING, Phase.PROMOTING)]
    while not life.state.promotion_begun:
        life.step()
        life.pass_time(timedelta(seconds=5))
    old.append(life.state)
    life.run_to(Phase.PROMOTED)
    newest, book, steps = life.kept, life.assignments.book, life.cluster.promoted_steps

    def conflict(state: State) -> None:
        raise RetryError("conflict")

    for state in old:
        step = life.step(state=state, wrap=lambda name, port: conflict if name == "save" else port)
        assert step.failure
        assert (life.kept, life.assignments.book, life.cluster.promoted_steps) == (newest, book, steps)
        assert not life.cluster.deployed


def test_an_api_that_is_away_for_hours_ends_nothing():
    life = Life()
    life.run_to(Phase.RUNNING)
    for _ in range(36):
        life.pass_time(timedelta(minutes=5))
        before = life.kept
        life.step(wrap=Faults({0: Fault.NO_ANSWER}).wrap)
        assert life.kept == before
    assert life.run().phase is Phase.PROMOTED


def test_a_refusal_that_could_not_be_kept_is_met_again():
    life = Life()
    life.cluster.deploy_refusal = "quota"
    life.run_to(Phase.PREPARING)
    for _ in range(2):
        life.pass_time(timedelta(seconds=10))
        # published, candidate, stable, verify or not, save, deploy, and the second save
        faulty_step(life, Faults({6: Fault.NO_ANSWER, 7: Fault.NO_ANSWER}))
    assert life.run_to(Phase.REJECTED).reason == "Refused"


@pytest.mark.parametrize("hours", [-1000.0, -3.0, 3.0, 1000.0])
@pytest.mark.parametrize("phase", [Phase.PREPARING, Phase.SHADOW, Phase.RUNNING, Phase.PROMOTING, Phase.STOPPING])
def test_a_clock_that_jumps_leads_to_the_same_end(phase, hours):
    life = Life(spec_of(schedule__shadowShare=10))
    life.run_to(phase)
    life.jump(timedelta(hours=hours))
    before = life.state
    life.step()
    assert life.state.watched - before.watched <= 3600
    if phase in (Phase.SHADOW, Phase.RUNNING):
        assert (life.state.phase, life.state.stage) == (before.phase, before.stage)
    assert life.run(hours=100).phase is Phase.PROMOTED
    # 6 hours of time that was watched: not one of those that were jumped over, but for one look interval.
    passed = sum(count for _, count in life.metrics.met)
    assert passed > 2000 * (4 * 0.5)


def test_a_clock_that_jumps_does_not_end_what_has_no_data_for_a_moment():
    life = Life()
    life.run_to(Phase.RUNNING)
    life.pass_time(timedelta(minutes=5))
    life.guardrails.away = True
    life.step()
    life.jump(timedelta(days=3))
    life.step()
    assert life.state.phase is Phase.RUNNING
    life.guardrails.away = False
    assert life.run().phase is Phase.PROMOTED
