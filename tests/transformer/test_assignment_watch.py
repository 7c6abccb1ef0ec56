"""Following the document, and the turn from one assignment to the next: with fake arms and a fake source."""

import asyncio
import logging
import threading
from collections.abc import Callable
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from models.experiments.assignment import Arm, Assignment, AssignmentBook
from serving.transformer.arm_metrics import ArmMetrics
from serving.transformer.assignment_watch import AssignmentWatch
from serving.transformer.errors import NotReadyError
from serving.transformer.experiment import ModelExperiment
from serving.transformer.source_error import AssignmentSourceError

DIGEST = f"sha256:{'a' * 64}"


def arm(name: str = "candidate", bundle: str = "b") -> Arm:
    return Arm(name=name, predictor_host="h", model="m", bundle=bundle, bundle_id=DIGEST, contract_digest=DIGEST)


def assignment(*arms: Arm, **more: Any) -> Assignment:
    fields = {"experiment": "captions", "uid": "u", "revision": 1, "model": "ranker", "salt": "grains of salt"}
    return Assignment(**{**fields, "arms": arms or (arm(),), "share": 1000, "shadow": 0, **more})


class FakeCandidate:
    """Tried when the test says so."""

    def __init__(self, made: Arm) -> None:
        self.arm, self.tried, self.closed = made, asyncio.Event(), 0

    async def keep(self) -> None:
        await asyncio.Event().wait()

    async def close(self) -> None:
        self.closed += 1


class World:
    def __init__(self, settled: bool = False, settle: float = 5.0) -> None:
        self.registry = CollectorRegistry()
        self.metrics = ArmMetrics(self.registry)
        self.made: list[FakeCandidate] = []
        self.experiment = ModelExperiment(
            "ranker", self.make, self.metrics, settled=settled, retry_after=1.0, linger=0.0, settle=settle
        )

    def make(self, made: Arm, report: Callable[[bool, str], None]) -> Any:
        self.made.append(FakeCandidate(made))
        return self.made[-1]

    async def turn(self, following: Assignment | None, tried: bool = True) -> None:
        self.experiment.turn(following)
        if tried:
            for candidate in self.made:
                candidate.tried.set()
        for _ in range(10):
            await asyncio.sleep(0)

    @property
    def running(self) -> Assignment | None:
        return None if self.experiment.running is None else self.experiment.running.assignment

    def gauges(self) -> dict[tuple[str, ...], float]:
        return {
            (sample.name.removeprefix("sightline_"), *sample.labels.values()): sample.value
            for family in self.registry.collect()
            for sample in family.samples
            if sample.name in ("sightline_arm_ready", "sightline_assignment_revision")
        }


@pytest.fixture
async def world() -> Any:
    made = World()
    yield made
    await made.experiment.close()


async def test_a_process_that_starts_is_not_ready_before_its_arms_were_tried(world: World) -> None:
    with pytest.raises(NotReadyError, match="arms are being built"):
        world.experiment.require_settled()
    await world.turn(assignment(), tried=False)
    assert world.running is None
    with pytest.raises(NotReadyError):
        world.experiment.require_settled()
    world.experiment.settle_without()
    with pytest.raises(NotReadyError):
        world.experiment.require_settled()
    world.made[0].tried.set()
    await asyncio.sleep(0.01)
    world.experiment.require_settled()
    assert world.running == assignment()


async def test_without_a_document_that_can_be_read_a_process_is_ready_all_the_same(world: World) -> None:
    world.experiment.settle_without()
    world.experiment.require_settled()


async def test_arms_that_are_never_tried_hold_nothing_up_for_ever() -> None:
    world = World(settle=0.02)
    await world.turn(assignment(), tried=False)
    assert world.running is None
    await asyncio.sleep(0.1)
    assert world.running == assignment()
    await world.experiment.close()


async def test_arms_that_stay_are_kept_and_the_others_closed(world: World) -> None:
    await world.turn(assignment())
    await world.turn(assignment(share=2000, revision=2))
    assert len(world.made) == 1, "a share is no reason to build"
    await world.turn(assignment(arm(), arm("other"), revision=3, share=2000))
    assert [each.arm.name for each in world.made] == ["candidate", "other"]
    await world.turn(assignment(arm("other"), revision=4))
    await asyncio.sleep(0.01)
    assert [each.closed for each in world.made] == [1, 0]
    assert world.gauges() == {
        ("assignment_revision", "ranker", "captions"): 4,
        ("arm_ready", "ranker", "captions", "other"): 0,
    }


async def test_an_arm_with_another_bundle_replaces_the_old_one_when_it_was_tried(world: World) -> None:
    await world.turn(assignment())
    newer = assignment(arm(bundle="c"), revision=2)
    await world.turn(newer, tried=False)
    assert world.running == assignment(), "the earlier one stays until then"
    assert [each.closed for each in world.made] == [0, 0]
    world.made[1].tried.set()
    await asyncio.sleep(0.01)
    assert world.running == newer
    assert [each.closed for each in world.made] == [1, 0]
    assert ("arm_ready", "ranker", "captions", "candidate") in world.gauges()


async def test_a_withdrawn_assignment_is_gone_at_once_also_one_that_was_not_in_effect_yet(world: World) -> None:
    await world.turn(assignment())
    await world.turn(assignment(arm(bundle="c"), revision=2), tried=False)
    await world.turn(None, tried=False)
    assert world.running is None
    world.made[1].tried.set()
    await asyncio.sleep(0.01)
    assert world.running is None
    assert [each.closed for each in world.made] == [1, 1]
    assert world.gauges() == {}


async def test_another_experiment_takes_over_and_the_first_ones_state_is_shown_no_more(world: World) -> None:
    await world.turn(assignment())
    await world.turn(assignment(uid="v", experiment="next"))
    await asyncio.sleep(0.01)
    assert len(world.made) == 2, "the same arm of another experiment counts for that one"
    assert world.gauges() == {
        ("assignment_revision", "ranker", "next"): 1,
        ("arm_ready", "ranker", "next", "candidate"): 0,
    }


class Source:
    """Gives what the test says, or raises it."""

    def __init__(self) -> None:
        self.given: bytes | Exception | None = None
        self.hang = threading.Event()
        self.hang.set()
        self.reads = 0

    def read(self) -> bytes | None:
        self.reads += 1
        self.hang.wait(10)
        if isinstance(self.given, Exception):
            raise self.given
        return self.given

    def close(self) -> None:
        return


class Follower:
    def __init__(self) -> None:
        self.turns: list[Assignment | None] = []
        self.without = 0

    def turn(self, following: Assignment | None) -> None:
        self.turns.append(following)

    def settle_without(self) -> None:
        self.without += 1


class Watched:
    def __init__(self, patience: float = 10.0) -> None:
        self.source, self.ranker, self.second = Source(), Follower(), Follower()
        self.registry = CollectorRegistry()
        self.now = 100.0
        followers = {"ranker": self.ranker, "second": self.second}
        self.watch = AssignmentWatch(
            self.source,
            followers,
            ArmMetrics(self.registry),
            seconds=1.0,
            clock=lambda: self.now,
            patience=patience,
        )

    async def look(self, given: AssignmentBook | bytes | Exception | None) -> None:
        self.source.given = given.to_json().encode() if isinstance(given, AssignmentBook) else given
        await self.watch.look()

    def value(self, name: str) -> float | None:
        return self.registry.get_sample_value(f"sightline_assignment_{name}")


def book(*assignments: Assignment) -> AssignmentBook:
    return AssignmentBook(assignments=assignments)


async def test_each_model_gets_its_own_assignment_and_only_when_it_changed() -> None:
    watched = Watched()
    one, two = assignment(), assignment(model="second", uid="v")
    await watched.look(book(one))
    await watched.look(book(one, two))
    await watched.look(book(one, two))
    assert [each for each in watched.ranker.turns if each] == [one]
    assert watched.second.turns == [None, two]
    await watched.look(book(two))
    assert watched.ranker.turns[-1] is None


async def test_what_cannot_be_read_or_used_changes_nothing_is_counted_and_told_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    watched = Watched()
    await watched.look(book(assignment()))
    watched.now = 130.0
    for _ in range(3):
        await watched.look(AssignmentSourceError("the server is away"))
    await watched.look(b"{")
    assert watched.ranker.turns == [assignment()]
    assert watched.value("failures_total") == 4
    assert watched.value("age_seconds") == 30
    assert [record.message for record in caplog.records].count("the server is away; what was read before stays") == 1
    await watched.look(book(assignment()))
    assert watched.value("age_seconds") == 0
    assert "the assignments can be used again" in caplog.text


@pytest.mark.parametrize("revision", [1, 2])
async def test_a_stale_or_silently_changed_copy_is_ignored(revision: int, caplog: pytest.LogCaptureFixture) -> None:
    watched = Watched()
    current = assignment(revision=2)
    await watched.look(book(current))
    await watched.look(book(assignment(revision=revision, share=7)))
    assert watched.ranker.turns == [current]
    assert f"revision is {revision}, the one in use is 2 and differs" in caplog.text
    again = assignment(revision=1, uid="another")
    await watched.look(book(again))
    assert watched.ranker.turns == [current, again], "another experiment counts from 1"


async def test_a_reading_that_hangs_is_no_second_one_and_no_loss(caplog: pytest.LogCaptureFixture) -> None:
    watched = Watched(patience=0.02)
    watched.source.hang.clear()
    await watched.look(book(assignment()))
    await watched.watch.look()
    assert (watched.source.reads, watched.ranker.without) == (1, 2)
    assert "did not come within 0.02 s" in caplog.text
    watched.source.hang.set()
    await asyncio.sleep(0.05)
    await watched.watch.look()
    assert watched.ranker.turns == [assignment()]


async def test_a_document_too_large_is_refused(caplog: pytest.LogCaptureFixture) -> None:
    watched = Watched()
    await watched.look(b" " * ((1 << 20) + 1))
    assert watched.ranker.turns == []
    assert "have over 1048576 bytes" in caplog.text


async def test_an_experiment_on_a_model_that_is_not_served_here_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    watched = Watched()
    for _ in range(3):
        await watched.look(book(assignment(model="rankr")))
    assert caplog.text.count("experiments on rankr; served here: ranker, second") == 1
    assert watched.value("failures_total") == 0
