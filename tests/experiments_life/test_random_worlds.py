"""Random worlds, faults, restarts, edits and clocks: what must never happen does not."""

from __future__ import annotations

from contextlib import suppress
from datetime import timedelta
from typing import Any

from hypothesis import HealthCheck, event, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from models.experiments.assignment import Assignment
from serving.rollout.experiment.ports import Readiness, RetryError
from serving.rollout.experiment.state import Outcome, Phase, State
from tests.experiments_life.faults import Fault, Faults
from tests.experiments_life.worlds import KilledError, Life, spec_of

MINUTES = st.sampled_from([1, 12, 12, 12, 30])


class Worlds(RuleBasedStateMachine):
    """The controller against everything at once."""

    @initialize(
        promotion=st.sampled_from(["report", "manual", "automatic"]),
        shadow=st.sampled_from([0, 10]),
        clicks=st.sampled_from([(0.3, 0.4), (0.4, 0.3), (0.3, 0.3)]),
        minimum=st.sampled_from(["1h", "6h"]),
    )
    def begin(self, promotion: str, shadow: int, clicks: tuple[float, float], minimum: str) -> None:
        self.edits: dict[str, Any] = {
            "promotion": promotion, "schedule__shadowShare": shadow, "analysis__minimumTime": minimum,
        }  # fmt: skip
        self.life = Life(spec_of(**self.edits))
        self.life.metrics.clicks = clicks
        self.life.assignments.watcher = self._publishes
        self.consented = promotion == "automatic"
        self.ended: tuple[State, object, bool] | None = None
        self.old: list[State] = []

    def _publishes(self, assignment: Assignment) -> None:
        assert self.life.cluster.newest is Readiness.READY, "users would go to an arm that was not seen ready"
        before = self.life.assignments.history[-1] if self.life.assignments.history else None
        if before is not None:
            assert assignment.share >= before.share or before.share == 0, "a share shrank"
            assert assignment.revision >= before.revision
            same = assignment.model_copy(update={"revision": 1}) == before.model_copy(update={"revision": 1})
            assert (assignment.revision == before.revision) == same, "one revision per change"
        kept = self.life.state
        assert kept.phase in (Phase.SHADOW, Phase.RUNNING, Phase.WAITING, Phase.PROMOTING), "acted before it was saved"

    def _step(self, faults: Faults) -> None:
        life, before = self.life, self.life.kept
        life.cluster.newest = Readiness.ABSENT
        if before is not None:
            self.old.append(before)
        promoted = life.cluster.promoted_steps
        with suppress(KilledError):
            life.step(wrap=faults.wrap)
        if life.kept is None:
            return
        after = life.state
        if self._blind() and before is not None and after is not before:
            assert after.stage == before.stage, "a stage began without data"
            assert not (before.phase is Phase.RUNNING and after.phase in (Phase.WAITING, Phase.PROMOTING))
            assert after.end is not Phase.WON or before.end is Phase.WON
        if life.cluster.promoted_steps > promoted:
            assert after.outcome is Outcome.WIN
            assert self.consented
        if before is not None:
            assert after.revision >= before.revision
            assert after.watched - before.watched <= 48 * 60

    def _blind(self) -> bool:
        return self.life.guardrails.away or self.life.guardrails.value is None or self.life.cluster.dead

    @rule(minutes=MINUTES)
    def step(self, minutes: int) -> None:
        self._step(Faults())
        self.life.pass_time(timedelta(minutes=minutes))

    @rule(count=st.integers(5, 40))
    def many_steps(self, count: int) -> None:
        for _ in range(count):
            self._step(Faults())
            self.life.pass_time(timedelta(minutes=12))

    @rule(plan=st.dictionaries(st.integers(0, 10), st.sampled_from(Fault), min_size=1, max_size=3))
    def faulty_step(self, plan: dict[int, Fault]) -> None:
        self._step(Faults(plan))
        self.life.pass_time(timedelta(minutes=2))

    @precondition(lambda self: self.old)
    @rule(data=st.data())
    def a_replaced_controller_steps_from_an_old_copy(self, data: st.DataObject) -> None:
        old = data.draw(st.sampled_from(self.old))
        if old == self.life.kept:
            return
        book, deployed = self.life.assignments.book, self.life.cluster.deployed
        promoted = self.life.cluster.promoted_steps

        def conflict(state: State) -> None:
            raise RetryError("conflict")

        self.life.step(state=old, wrap=lambda name, port: conflict if name == "save" else port)
        now = self.life.assignments.book, self.life.cluster.deployed, self.life.cluster.promoted_steps
        assert now == (book, deployed, promoted)

    @rule(hours=st.sampled_from([-500, -2, 2, 500]))
    def the_clock_jumps(self, hours: int) -> None:
        self.life.jump(timedelta(hours=hours))

    @rule(value=st.sampled_from([None, 0.001, 0.001, 0.001, 0.9]), away=st.sampled_from([False, False, True]))
    def guardrails_read(self, value: float | None, away: bool) -> None:
        self.life.guardrails.value, self.life.guardrails.away = value, away

    @rule(away=st.booleans())
    def the_collector_is(self, away: bool) -> None:
        self.life.metrics.away = away

    @rule(dead=st.sampled_from([False, False, True]))
    def the_candidate_is(self, dead: bool) -> None:
        self.life.cluster.dead = dead

    @rule()
    def the_pods_are_deleted(self) -> None:
        self.life.cluster.deployed, self.life.cluster.looks = False, 0

    @rule()
    def the_assignment_is_deleted(self) -> None:
        self.life.assignments.withdraw("0b1c2d3e")

    @rule(paused=st.booleans())
    def paused(self, paused: bool) -> None:
        self._edit(paused=paused)

    @rule()
    def approved(self) -> None:
        self.consented = True
        self._edit(approved=True)

    @rule(bundle=st.sampled_from(["s3://models/ranker/7", "s3://models/ranker/8"]))
    def another_bundle(self, bundle: str) -> None:
        if self.life.kept is not None and self.life.state.started is not None:
            self._edit(candidate__bundle=bundle)

    @rule(luck=st.integers(0, 9))
    def aborted(self, luck: int) -> None:
        if luck == 0:
            self._edit(aborted=True)

    @rule(luck=st.integers(0, 9))
    def a_hotfix(self, luck: int) -> None:
        if luck == 0 and self.life.cluster.promoted_steps == 0:
            self.life.cluster.stable_bundle = "s3://models/ranker/6-hotfix"

    def _edit(self, **changes: Any) -> None:
        self.edits |= changes
        self.life.spec = spec_of(**self.edits)

    @invariant()
    def an_end_is_final_and_leaves_nothing(self) -> None:
        life = getattr(self, "life", None)
        if life is None or life.kept is None or not life.state.phase.ended:
            return
        assert life.published is None
        now = (life.state, life.assignments.book, life.cluster.promoted_steps > 0)
        self.ended = self.ended or now
        assert now == self.ended
        if life.state.phase is Phase.PROMOTED:
            assert life.cluster.promoted_steps == life.cluster.promotion_steps
            assert all(each.arms[0].bundle == "s3://models/ranker/7" for each in life.assignments.history)

    def teardown(self) -> None:
        """All is well from here on: there is an end, or a wait for people."""
        life = getattr(self, "life", None)
        if life is None:
            return
        life.guardrails.value, life.guardrails.away = 0.001, False
        life.metrics.away = life.cluster.dead = False
        self._edit(paused=False, candidate__bundle="s3://models/ranker/7")
        for _ in range(400):
            self._step(Faults())
            if life.state.phase.ended:
                self.an_end_is_final_and_leaves_nothing()
                assert not life.cluster.deployed
                event(f"ended {life.state.phase} {life.state.reason}")
                return
            life.pass_time(timedelta(minutes=12))
        event("waits for approval")
        assert life.state.phase is Phase.WAITING, (life.state.phase, life.state.message)


TestRandomWorlds = Worlds.TestCase
TestRandomWorlds.settings = settings(
    max_examples=25, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
)
