"""Who is asked, with how much time, what is counted and recorded: the router between fake arms."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from models.experiments.assignment import STABLE, Arm, Assignment
from models.experiments.events import Exposure, pseudonym
from serving.transformer.candidate import ArmFailedError
from serving.transformer.errors import InvalidRequestError, NotReadyError, PredictorUnavailableError, ServiceError
from serving.transformer.experiment import Running
from serving.transformer.exposing import ExposureWriter, pseudonym_key
from serving.transformer.features import Features
from serving.transformer.metrics import Metrics
from serving.transformer.ranker import Ranking
from serving.transformer.request import RankRequest
from serving.transformer.router import Router

KEY = b"sixteen bytes or more"
DIGEST = f"sha256:{'a' * 64}"


def arm(name: str) -> Arm:
    return Arm(name=name, predictor_host="h", model="m", bundle="b", bundle_id=DIGEST, contract_digest=DIGEST)


def assignment(**more: Any) -> Assignment:
    fields = {"experiment": "captions", "uid": "u", "revision": 3, "model": "ranker", "salt": "grains of salt"}
    return Assignment(**{**fields, "arms": (arm("candidate"),), "share": 2500, "shadow": 0, **more})


def ranking(request: RankRequest, by: str, degraded: tuple[str, ...] = ()) -> Ranking:
    n = len(request.item_ids)
    yes, no = np.ones(n, np.bool_), np.zeros(n, np.bool_)
    features = Features({}, True, yes, yes, no, degraded, 0)
    scores = np.linspace(0.1, 0.9, n, dtype=np.float32)
    return Ranking(request, features, scores, np.arange(n - 1, -1, -1), f"contract of {by}", f"bundle of {by}")


@dataclass
class FakeArm:
    """A candidate, or stable's call."""

    name: str
    failure: Exception | None = None
    takes: float = 0.0
    degraded: tuple[str, ...] = ()
    asked: list[tuple[list[str], float | None]] = field(default_factory=list)

    async def rank(self, request: RankRequest, seconds: float | None) -> Ranking:
        return (await self.all([request], seconds))[0]

    async def all(self, requests: Sequence[RankRequest], seconds: float | None) -> list[Ranking]:
        self.asked.append(([request.user_id for request in requests], seconds))
        await asyncio.sleep(self.takes)
        if self.failure:
            raise self.failure
        return [ranking(request, self.name, self.degraded) for request in requests]

    def ranker(self) -> "FakeArm":
        if isinstance(self.failure, ArmFailedError):
            raise NotReadyError("not ready", 1.0)
        return self


@dataclass
class FakeExperiment:
    running: Running | None = None

    def require_settled(self) -> None:
        return


class World:
    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.metrics = Metrics(self.registry)
        self.stable, self.candidate = FakeArm(STABLE), FakeArm("candidate")
        self.experiment, self.recorded, self.shadowed = FakeExperiment(), [], []
        writer = ExposureWriter(self, KEY, items=2, now=lambda: 1e9, new_id=lambda: f"id-{len(self.recorded)}")
        self.router = Router(
            "ranker",
            self.stable.all,
            self.require_stable,
            self.experiment,  # type: ignore[arg-type]
            self,  # type: ignore[arg-type]
            self.metrics,
            exposures=writer,
            arm_header="x-arm",
            tell_arm=True,
            clock=asyncio.get_running_loop().time,
            timeout=2.0,
            candidate_timeout=0.5,
        )
        self.stable_ready = True

    recorded: list[Exposure]
    shadowed: list[tuple[str, str]]

    def record(self, exposure: Exposure) -> None:
        self.recorded.append(exposure)

    async def run(self) -> None:
        raise AssertionError("nobody runs it here")

    def offer(self, experiment: str, candidate: FakeArm, given: Ranking) -> None:
        self.shadowed.append((candidate.name, given.request.user_id))

    def require_stable(self) -> None:
        if not self.stable_ready:
            raise NotReadyError("stable is away", 1.0)

    def begin(self, **more: Any) -> Assignment:
        made = assignment(**more)
        candidates: Any = {each.name: self.candidate for each in made.arms}
        counters = {name: self.metrics.arms.of_arm("ranker", "captions", name) for name in (STABLE, *candidates)}
        self.experiment.running = Running(made, candidates, counters)
        return made

    def users(self, arm: str, enrolled: bool = True) -> list[str]:
        assert self.experiment.running is not None
        place = self.experiment.running.assignment.place
        users = [f"user {i}" for i in range(100)]
        return [user for user in users if (place(user).arm, place(user).enrolled) == (arm, enrolled)]

    async def rank(self, *users: str, timeout: float | None = None, arm: str | None = None) -> list[Ranking]:
        requests = [RankRequest(user, ("a", "b", "c")) for user in users]
        found = await self.router.rank(requests, timeout, arm)
        await asyncio.sleep(0)  # when the answer is on its way it is counted and recorded
        return found

    def counts(self) -> dict[tuple[str, ...], float]:
        """Of arms, without zeros: (metric, arm, outcome or reason)."""
        return {
            (sample.name.removeprefix("sightline_"), sample.labels["arm"], *last): sample.value
            for family in self.registry.collect()
            for sample in family.samples
            if sample.value
            and sample.name
            in ("sightline_arm_requests_total", "sightline_arm_failures_total", "sightline_arm_seconds_count")
            for last in [[v for k, v in sample.labels.items() if k in ("outcome", "reason")]]
        }


@pytest.fixture
async def world() -> World:
    return World()


async def test_without_an_experiment_stable_gets_the_call_as_it_came(world: World) -> None:
    found = await world.rank("u", "v", timeout=0.7)
    assert world.stable.asked == [(["u", "v"], 0.7)]
    await world.rank("u")
    assert world.stable.asked[-1] == (["u"], None)
    assert [(each.arm, each.experiment, each.degraded) for each in found] == [(None, None, ())] * 2
    assert world.recorded == []


async def test_users_of_all_arms_in_one_call_keep_their_order_and_stable_is_asked_once(world: World) -> None:
    world.begin()
    mixed = [*world.users("candidate")[:2], *world.users(STABLE)[:2], *world.users(STABLE, enrolled=False)[:2]]
    mixed = [mixed[i] for i in (3, 0, 5, 1, 4, 2)]
    found = await world.rank(*mixed)
    assert [each.request.user_id for each in found] == mixed
    assert [each.arm for each in found] == [STABLE, "candidate", None, "candidate", None, STABLE]
    assert [each.contract_digest == "contract of candidate" for each in found] == [0, 1, 0, 1, 0, 0]
    assert [users for users, _ in world.stable.asked] == [[mixed[0], mixed[2], mixed[4], mixed[5]]]
    assert world.counts() == {
        ("arm_requests_total", "candidate", "ok"): 2,
        ("arm_requests_total", STABLE, "ok"): 2,
        ("arm_seconds_count", "candidate"): 2,
        ("arm_seconds_count", STABLE): 2,
    }
    assert len(world.recorded) == 4


@pytest.mark.parametrize(("timeout", "first"), [(None, 0.5), (1.0, 0.25), (9.0, 0.5)])
async def test_the_candidate_gets_its_part_of_the_time_and_stable_the_rest(
    world: World, timeout: float | None, first: float
) -> None:
    world.begin()
    world.candidate.failure, world.candidate.takes = ArmFailedError("predictor_error"), 0.05
    (found,) = await world.rank(world.users("candidate")[0], timeout=timeout)
    ((_, given),) = world.candidate.asked
    ((_, left),) = world.stable.asked
    assert given == pytest.approx(first, abs=0.02)
    assert left == pytest.approx(min(timeout or 2.0, 2.0) - 0.05, abs=0.04)
    assert (found.arm, found.fallback, found.degraded) == ("candidate", "predictor_error", ("candidate_unavailable",))
    assert found.contract_digest == "contract of stable"


async def test_a_fallback_is_the_arms_failure_and_its_exposure_says_who_served(world: World) -> None:
    world.begin()
    world.candidate.failure = ArmFailedError("not_ready")
    world.stable.degraded = ("item_store_unavailable",)
    user = world.users("candidate")[0]
    (found,) = await world.rank(user)
    assert found.degraded == ("candidate_unavailable", "item_store_unavailable")
    assert world.counts() == {
        ("arm_requests_total", "candidate", "fallback"): 1,
        ("arm_failures_total", "candidate", "not_ready"): 1,
        ("arm_seconds_count", "candidate"): 1,
    }
    (exposure,) = world.recorded
    assert exposure == Exposure.model_validate_json(exposure.model_dump_json())
    assert (exposure.arm, exposure.served, exposure.fallback) == ("candidate", STABLE, "not_ready")
    assert (exposure.bundle_id, exposure.contract_digest) == ("bundle of stable", "contract of stable")
    assert exposure.user == pseudonym(KEY, user)
    assert (exposure.items, exposure.scores) == (("c", "b"), pytest.approx((0.9, 0.5)))
    assert (exposure.candidates, exposure.captioned, exposure.degraded) == (3, 3, ("item_store_unavailable",))


async def test_a_ranking_is_recorded_when_its_answer_is_on_its_way(world: World) -> None:
    world.begin()
    await world.router.rank([RankRequest(world.users(STABLE)[0], ("a",))], None, None)
    assert (world.recorded, world.counts()) == ([], {})
    await asyncio.sleep(0)
    assert len(world.recorded) == 1
    assert ("arm_requests_total", STABLE, "ok") in world.counts()


async def test_when_nobody_answers_the_arm_has_failed_and_nothing_is_recorded(world: World) -> None:
    world.begin()
    world.candidate.failure = ArmFailedError("predictor_unavailable")
    world.stable.failure = PredictorUnavailableError("away", 1.0)
    mine, other = world.users("candidate")[0], world.users(STABLE)[0]
    for user in (mine, other, world.users(STABLE, enrolled=False)[0]):
        with pytest.raises(ServiceError, match="away"):
            await world.rank(user)
    assert world.counts() == {
        ("arm_requests_total", "candidate", "failed"): 1,
        ("arm_requests_total", STABLE, "failed"): 1,
        ("arm_failures_total", "candidate", "predictor_unavailable"): 1,
        ("arm_failures_total", STABLE, "predictor_unavailable"): 1,
        ("arm_seconds_count", "candidate"): 1,
        ("arm_seconds_count", STABLE): 1,
    }
    assert world.recorded == []


async def test_a_call_of_which_a_part_fails_exposes_nobody(world: World) -> None:
    world.begin()
    world.stable.failure = PredictorUnavailableError("away", 1.0)
    with pytest.raises(ServiceError, match="away"):
        await world.rank(world.users("candidate")[0], world.users(STABLE)[0])
    assert world.recorded == []
    assert ("arm_requests_total", "candidate", "ok") not in world.counts()


async def test_what_no_arm_takes_is_the_clients_fault_and_counted_for_nobody(world: World) -> None:
    world.begin()
    world.candidate.failure, world.stable.failure = ArmFailedError("request_refused"), InvalidRequestError([])
    for user in (world.users("candidate")[0], world.users(STABLE)[0]):
        with pytest.raises(InvalidRequestError):
            await world.rank(user)
    assert world.counts() == {}


async def test_a_named_arm_answers_or_fails_itself_and_is_not_counted(world: World) -> None:
    world.begin()
    user = world.users(STABLE)[0]
    (found,) = await world.rank(user, arm="candidate")
    assert (found.arm, found.experiment, found.contract_digest) == ("candidate", "captions", "contract of candidate")
    world.candidate.failure = ArmFailedError("not_ready")
    with pytest.raises(NotReadyError):
        await world.rank(user, arm="candidate")
    with pytest.raises(InvalidRequestError, match="header x-arm: is 'x'; expected one of 'stable', 'candidate'"):
        await world.rank(user, arm="x")
    assert world.counts() == {}
    assert world.recorded == []
    world.experiment.running = None
    (found,) = await world.rank(user, arm=STABLE)
    assert (found.arm, found.experiment) == (STABLE, None)
    with pytest.raises(InvalidRequestError, match="expected one of 'stable'; leave it out"):
        await world.rank(user, arm="candidate")


async def test_everyone_falls_back_and_is_the_arms_failure_but_no_enrolled_users(world: World) -> None:
    world.begin(everyone="candidate")
    assert (await world.rank("anybody"))[0].contract_digest == "contract of candidate"
    world.candidate.failure = ArmFailedError("not_ready")
    (found,) = await world.rank("anybody")
    assert (found.arm, found.degraded) == (None, ("candidate_unavailable",))
    assert world.counts() == {("arm_failures_total", "candidate", "not_ready"): 1}
    with pytest.raises(NotReadyError, match="not ready"):
        world.router.require()
    world.candidate.failure, world.stable_ready = None, False
    world.router.require()
    world.begin()
    with pytest.raises(NotReadyError, match="stable is away"):
        world.router.require()


async def test_users_in_the_shadow_are_offered_once_answered(world: World) -> None:
    world.begin(share=0, shadow=5000)
    await asyncio.gather(*(world.rank(f"user {i}") for i in range(40)))
    place = world.experiment.running.assignment.place  # type: ignore[union-attr]
    assert sorted(world.shadowed) == sorted(
        ("candidate", f"user {i}") for i in range(40) if place(f"user {i}").shadow is not None
    )
    assert 10 < len(world.shadowed) < 30


@pytest.mark.parametrize("key", ["", "fifteen bytes !"])
def test_a_key_of_pseudonyms_that_is_missing_or_short_is_refused_and_never_shown(key: str) -> None:
    with pytest.raises(ValueError, match=r"SIGHTLINE_PSEUDONYM_KEY has .* bytes; expected at least 16") as raised:
        pseudonym_key({"SIGHTLINE_PSEUDONYM_KEY": key})
    assert not key or key not in str(raised.value)
