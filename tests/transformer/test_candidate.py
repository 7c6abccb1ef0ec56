"""A candidate's life and its breaker, with a fake ranker; times are told, not waited for where that is possible."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from models.experiments.assignment import Arm
from serving.transformer.breaker import Breaker
from serving.transformer.candidate import ArmBuildError, ArmFailedError, Candidate, OpenedArm
from serving.transformer.errors import (
    InvalidRequestError,
    NotReadyError,
    PredictorAnswerError,
    PredictorDeadlineError,
    ServiceError,
)

DIGEST = f"sha256:{'a' * 64}"
ARM = Arm(name="candidate", predictor_host="h", model="m", bundle="b", bundle_id=DIGEST, contract_digest=DIGEST)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_breaker_opens_after_failures_in_a_row_and_lets_one_look_after_each_pause() -> None:
    clock = Clock()
    breaker = Breaker(3, 5.0, clock)
    breaker.failed()
    breaker.failed()
    breaker.succeeded()
    breaker.failed()
    breaker.failed()
    assert breaker.allows()
    assert not breaker.open
    breaker.failed()
    assert breaker.open
    assert not breaker.allows()
    clock.now = 4.9
    assert not breaker.allows()
    clock.now = 5.0
    assert breaker.allows(), "one looks"
    assert not breaker.allows(), "the others wait for what it finds"
    breaker.failed()
    clock.now = 9.9
    assert not breaker.allows()
    clock.now = 10.0
    assert breaker.allows()
    breaker.succeeded()
    assert breaker.allows()
    assert not breaker.open


class FakeHandshake:
    def __init__(self) -> None:
        self.failure: NotReadyError | None = None
        self.checked = 0

    async def check(self) -> None:
        self.checked += 1

    async def watch(self) -> None:
        await asyncio.Event().wait()

    def require(self) -> None:
        if self.failure:
            raise self.failure


class FakeRanker:
    """Answers what it is told, or fails so."""

    def __init__(self) -> None:
        self.handshake = FakeHandshake()
        self.failure: Exception | None = None
        self.delay = 0.0
        self.asked: list[float] = []

    async def rank(self, request: Any, timeout: float) -> Any:
        self.asked.append(timeout)
        await asyncio.sleep(self.delay)
        if self.failure:
            raise self.failure
        return f"ranking of {request}"


class World:
    def __init__(self, failures: int = 2) -> None:
        self.ranker, self.clock = FakeRanker(), Clock()
        self.build_failures: list[Exception] = []
        self.slept: list[float] = []
        self.reports: list[tuple[bool, str]] = []
        self.closed = 0
        self.candidate = Candidate(
            ARM,
            self.build,
            Breaker(failures, 5.0, self.clock),
            lambda ready, reason: self.reports.append((ready, reason)),
            seconds=0.1,
            retry_after=1.0,
            sleep=self.sleep,
        )

    async def build(self, arm: Arm, report: Callable[[bool, str], None]) -> OpenedArm:
        if self.build_failures:
            raise self.build_failures.pop(0)
        return OpenedArm(self.ranker, self.close)  # type: ignore[arg-type]

    async def close(self) -> None:
        self.closed += 1

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        await asyncio.sleep(0)

    async def built(self) -> Candidate:
        self.keeping = asyncio.create_task(self.candidate.keep())
        await self.candidate.tried.wait()
        return self.candidate

    async def failing(self, seconds: float = 1.0) -> str:
        with pytest.raises(ArmFailedError) as raised:
            await self.candidate.rank("r", seconds)  # type: ignore[arg-type]
        return raised.value.reason


@pytest.fixture
async def world() -> Any:
    made = World()
    yield made
    if hasattr(made, "keeping"):
        made.keeping.cancel()
        await asyncio.gather(made.keeping, return_exceptions=True)


async def test_a_build_that_fails_is_tried_again_with_growing_pauses_and_told(world: World) -> None:
    world.build_failures = [ArmBuildError(f"no bundle {i}") for i in range(8)]
    assert await world.failing() == "not_built"
    await world.built()
    assert await world.failing() == "not_built"
    with pytest.raises(NotReadyError, match="arm 'candidate' is not ready: no bundle"):
        world.candidate.ranker()
    for _ in range(40):
        await asyncio.sleep(0)
    assert world.slept == [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0]
    assert world.reports[0] == (False, "no bundle 0; tried again in 1 s")
    assert await world.candidate.rank("r", 1.0) == "ranking of r"  # type: ignore[arg-type]
    await world.candidate.close()
    assert world.closed == 1


async def test_a_candidate_has_its_own_bound_and_the_callers(world: World) -> None:
    candidate = await world.built()
    await candidate.rank("r", 1.0)  # type: ignore[arg-type]
    await candidate.rank("r", 0.05)  # type: ignore[arg-type]
    assert world.ranker.asked == [0.1, 0.05]
    world.ranker.delay = 5
    assert await asyncio.wait_for(world.failing(), 2) == "predictor_deadline"


@pytest.mark.parametrize(
    ("failure", "reason"),
    [
        (PredictorAnswerError("3 of 4 scores are not finite"), "predictor_error"),
        (PredictorDeadlineError("late"), "predictor_deadline"),
        (NotReadyError("another contract came a moment ago"), "not_ready"),
    ],
)
async def test_failures_in_a_row_open_the_breaker(world: World, failure: ServiceError, reason: str) -> None:
    await world.built()
    world.ranker.failure = failure
    assert [await world.failing() for _ in range(4)] == [reason, reason, "paused", "paused"]
    world.clock.now = 5.0
    world.ranker.failure = None
    assert await world.candidate.rank("r", 1.0) == "ranking of r"  # type: ignore[arg-type]


async def test_a_refused_request_and_an_impatient_caller_say_nothing_about_the_arm(world: World) -> None:
    await world.built()
    world.ranker.failure = InvalidRequestError([])
    assert [await world.failing() for _ in range(4)] == ["request_refused"] * 4
    world.ranker.failure, world.ranker.delay = None, 5
    assert [await world.failing(0.01) for _ in range(4)] == ["predictor_deadline"] * 4
    world.ranker.delay = 0
    assert await world.candidate.rank("r", 1.0) == "ranking of r"  # type: ignore[arg-type]


async def test_an_arm_whose_handshake_is_not_good_is_not_asked(world: World) -> None:
    await world.built()
    world.ranker.handshake.failure = NotReadyError("Triton serves another contract")
    assert [await world.failing() for _ in range(4)] == ["not_ready"] * 4
    assert world.ranker.asked == []
    world.ranker.handshake.failure = None
    awaited: Awaitable[Any] = world.candidate.rank("r", 1.0)  # type: ignore[arg-type]
    assert await awaited == "ranking of r"
