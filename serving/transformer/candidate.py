"""An experiment's candidate in this process: built from its bundle in the background, asked with a bound, torn down."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

from models.contract import ContractError
from models.experiments.assignment import Arm
from serving.transformer.breaker import Breaker
from serving.transformer.errors import InvalidRequestError, NotReadyError, PredictorDeadlineError, ServiceError
from serving.transformer.ranker import Ranker, Ranking
from serving.transformer.request import RankRequest

NOT_BUILT, PAUSED, REFUSED = "not_built", "paused", "request_refused"
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 60.0
_USUAL = 0.9


class ArmBuildError(Exception):
    """The arm's bundle cannot be had or is not the one that the assignment names; it is tried again."""


class ArmFailedError(Exception):
    """The arm gave no ranking; `reason` is a label, the cause says the rest."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class OpenedArm:
    """A ranker with a channel of its own, and how that is closed."""

    ranker: Ranker
    close: Callable[[], Awaitable[None]]


ReportReady = Callable[[bool, str], None]
"""Hears whether an arm is ready, and why not."""


class ArmBuild(Protocol):
    """How an arm becomes a ranker."""

    async def __call__(self, arm: Arm, report: ReportReady) -> OpenedArm:
        """Fetch, verify, open. Raises `ArmBuildError`; `report` hears of the handshake from then on."""
        ...


class Candidate:
    """One arm. `seconds` bounds every answer of it; `sleep` waits between two attempts to build it."""

    def __init__(
        self,
        arm: Arm,
        build: ArmBuild,
        breaker: Breaker,
        report: ReportReady,
        *,
        seconds: float,
        retry_after: float,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.arm, self._build, self._breaker, self._report = arm, build, breaker, report
        self._seconds, self._retry_after, self._sleep = seconds, retry_after, sleep
        self._opened: OpenedArm | None = None
        self._failure = "it is being built"
        self.tried = asyncio.Event()
        """Set once the arm was built and its Triton asked, or could not be built."""

    async def keep(self) -> None:
        """Build the arm, again after failures, then watch its handshake; runs until cancelled."""
        pause = FIRST_PAUSE
        while self._opened is None:
            try:
                self._opened = await self._build(self.arm, self._report)
            except ArmBuildError as error:
                self._failure = str(error)
                self._report(False, f"{error}; tried again in {pause:g} s")
                self.tried.set()
                await self._sleep(pause)
                pause = min(2 * pause, LONGEST_PAUSE)
        handshake = self._opened.ranker.handshake
        await handshake.check()
        self.tried.set()
        await handshake.watch()

    async def close(self) -> None:
        """Close the channel; nobody asks any more."""
        if self._opened is not None:
            await self._opened.close()

    @property
    def seconds(self) -> float:
        """The bound of every answer."""
        return self._seconds

    def ranker(self) -> Ranker:
        """The ranker, if its handshake is good. Raises `NotReadyError`."""
        if self._opened is None:
            raise NotReadyError(f"arm {self.arm.name!r} is not ready: {self._failure}", self._retry_after)
        self._opened.ranker.handshake.require()
        return self._opened.ranker

    async def rank(self, request: RankRequest, seconds: float) -> Ranking:
        """Rank within `seconds` and the arm's own bound. Raises `ArmFailedError`.

        The breaker does not hear of a request that the arm's contract refuses, nor of a caller who left the arm less
        time than it usually has: neither says anything about its Triton.
        """
        ranker = self._ready_ranker()
        if not self._breaker.allows():
            raise ArmFailedError(PAUSED)
        bound = min(seconds, self._seconds)
        try:
            async with asyncio.timeout(bound):
                ranking = await ranker.rank(request, bound)
        except (InvalidRequestError, ContractError) as cause:
            raise ArmFailedError(REFUSED) from cause
        except (TimeoutError, PredictorDeadlineError) as cause:
            if bound >= _USUAL * self._seconds:
                self._breaker.failed()
            raise ArmFailedError(PredictorDeadlineError.outcome) from cause
        except ServiceError as cause:
            self._breaker.failed()
            raise ArmFailedError(cause.outcome) from cause
        self._breaker.succeeded()
        return ranking

    def _ready_ranker(self) -> Ranker:
        try:
            return self.ranker()
        except NotReadyError as cause:
            raise ArmFailedError(NOT_BUILT if self._opened is None else cause.outcome) from cause
