"""Which arm answers whom: the one thing between the service and the rankers of a model."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from models.contract import Fault
from models.experiments.assignment import STABLE, Place
from serving.transformer.arm_metrics import FAILED, FALLBACK, OK
from serving.transformer.candidate import ArmFailedError
from serving.transformer.errors import InvalidRequestError, ServiceError, shown
from serving.transformer.experiment import ModelExperiment, Running
from serving.transformer.exposing import ExposureWriter
from serving.transformer.metrics import Metrics
from serving.transformer.ranker import ARM_AWAY, Ranking
from serving.transformer.request import RankRequest
from serving.transformer.shadow import Shadow

StableCall = Callable[[Sequence[RankRequest], float | None], Awaitable[list[Ranking]]]
_Answer = tuple[Ranking, float]  # and the seconds that it took


class Router:
    """Ranks a model's requests with the arm of each user. Without an experiment it hands them to stable.

    Features are read by the names of stable's contract for all arms; an arm ignores those that it does not know.
    """

    def __init__(
        self,
        model: str,
        stable: StableCall,
        stable_ready: Callable[[], None],
        experiment: ModelExperiment,
        shadow: Shadow,
        metrics: Metrics,
        *,
        exposures: ExposureWriter | None,
        arm_header: str,
        tell_arm: bool,
        clock: Callable[[], float],
        timeout: float,
        candidate_timeout: float,
    ) -> None:
        """`timeout` is what a call has in seconds, if its caller does not say less; a candidate may use the part
        `candidate_timeout` of it, and the same proportion of less.
        """
        self.model, self._stable, self._stable_ready = model, stable, stable_ready
        self._experiment, self._shadow, self._exposures = experiment, shadow, exposures
        self._metrics, self._degraded = metrics.arms, metrics.degraded
        self._arm_header, self._tell_arm, self._clock = arm_header, tell_arm, clock
        self._timeout, self._part = timeout, candidate_timeout / timeout

    def require(self) -> None:
        """Raise `NotReadyError` unless users can be answered: by stable, or by the arm that all users get."""
        self._experiment.require_settled()
        running = self._experiment.running
        if running is None or running.assignment.everyone is None:
            self._stable_ready()
        else:
            running.candidates[running.assignment.everyone].ranker()

    async def rank(self, requests: Sequence[RankRequest], timeout: float | None, arm: str | None) -> list[Ranking]:
        """Rank each request; `arm` is one that the call names. Raises `ServiceError`."""
        running = self._experiment.running
        if arm is not None:
            return await self._named(running, requests, timeout, arm)
        if running is None:
            return await self._stable(requests, timeout)
        deadline = self._clock() + (self._timeout if timeout is None else min(timeout, self._timeout))
        places = [running.assignment.place(request.user_id) for request in requests]
        answers = await self._answers(running, requests, places, deadline)
        given = [self._given(running, place, *answer) for place, answer in zip(places, answers, strict=True)]
        return given if self._tell_arm else [ranking.hidden() for ranking in given]

    async def _named(
        self, running: Running | None, requests: Sequence[RankRequest], timeout: float | None, arm: str
    ) -> list[Ranking]:
        """The arm that the call names or its error: no fallback, not counted, not recorded."""
        candidates = {} if running is None else running.candidates
        experiment = None if running is None else running.assignment.experiment
        if arm == STABLE:
            rankings = await self._stable(requests, timeout)
        elif arm in candidates:
            ranker = candidates[arm].ranker()
            rankings = list(await asyncio.gather(*(ranker.rank(request, timeout) for request in requests)))
        else:
            expected = "one of " + ", ".join(repr(name) for name in (STABLE, *candidates))
            fix = "leave it out to get the user's own arm"
            raise InvalidRequestError([Fault(f"header {self._arm_header}", shown(arm), expected, fix)])
        return [ranking.marked(arm, experiment, None) for ranking in rankings]

    async def _answers(
        self, running: Running, requests: Sequence[RankRequest], places: Sequence[Place], deadline: float
    ) -> list[_Answer]:
        """Stable's users in one call, the others one by one, all side by side."""
        on_stable = [i for i, place in enumerate(places) if place.arm == STABLE]
        if len(on_stable) == len(requests):
            return await self._from_stable(running, requests, places, deadline)
        if len(requests) == 1:
            return await self._from_candidate(running, requests[0], places[0], deadline)
        parts = [[i] for i, place in enumerate(places) if place.arm != STABLE]
        calls = [self._from_candidate(running, requests[i], places[i], deadline) for (i,) in parts]
        if on_stable:
            own, theirs = [requests[i] for i in on_stable], [places[i] for i in on_stable]
            parts.append(on_stable)
            calls.append(self._from_stable(running, own, theirs, deadline))
        found: dict[int, _Answer] = {}
        for positions, answers in zip(parts, await asyncio.gather(*calls), strict=True):
            found.update(zip(positions, answers, strict=True))
        return [found[i] for i in range(len(requests))]

    async def _from_stable(
        self, running: Running, requests: Sequence[RankRequest], places: Sequence[Place], deadline: float
    ) -> list[_Answer]:
        start = self._clock()
        try:
            rankings = await self._stable(requests, deadline - start)
        except InvalidRequestError:
            raise  # the client's fault
        except ServiceError as error:
            for place in places:
                self._lost(running, place, error.outcome, self._clock() - start)
            raise
        took = self._clock() - start
        return [(ranking, took) for ranking in rankings]

    async def _from_candidate(
        self, running: Running, request: RankRequest, place: Place, deadline: float
    ) -> list[_Answer]:
        """The candidate's ranking within its part of the time; stable's if it fails."""
        start, candidate = self._clock(), running.candidates[place.arm]
        try:
            ranking = await candidate.rank(request, (deadline - start) * self._part)
        except ArmFailedError as failure:
            reason = failure.reason
        else:
            return [(ranking, self._clock() - start)]
        try:
            (ranking,) = await self._stable([request], deadline - self._clock())
        except InvalidRequestError:
            raise  # no arm takes it: the client's fault
        except ServiceError:
            self._lost(running, place, reason, self._clock() - start)
            raise
        self._failed(running, place.arm, reason)
        self._degraded.labels(self.model, ARM_AWAY).inc()
        return [(ranking.marked(None, None, reason), self._clock() - start)]

    def _given(self, running: Running, place: Place, ranking: Ranking, took: float) -> Ranking:
        """Mark the ranking that goes out; what it counts for is done when the answer is on its way."""
        assignment = running.assignment
        if place.shadow is not None:
            self._shadow.offer(assignment.experiment, running.candidates[place.shadow], ranking)
        if not place.enrolled:
            return ranking
        asyncio.get_running_loop().call_soon(self._account, running, place, ranking, took)
        return ranking.marked(place.arm, assignment.experiment, ranking.fallback)

    def _account(self, running: Running, place: Place, ranking: Ranking, took: float) -> None:
        """Count and record the ranking of an enrolled user."""
        counters = running.counters[place.arm]
        counters.requests[OK if ranking.fallback is None else FALLBACK].inc()
        counters.seconds.observe(took)
        if ranking.features.degraded:
            counters.degraded.inc()
        if self._exposures is not None:
            served = place.arm if ranking.fallback is None else STABLE
            self._exposures.write(self.model, running.assignment, ranking, arm=place.arm, served=served, took=took)

    def _lost(self, running: Running, place: Place, reason: str, took: float) -> None:
        """Nobody answered."""
        if place.enrolled:
            counters = running.counters[place.arm]
            counters.requests[FAILED].inc()
            counters.seconds.observe(took)
        if place.enrolled or place.arm != STABLE:
            self._failed(running, place.arm, reason)

    def _failed(self, running: Running, arm: str, reason: str) -> None:
        self._metrics.failures.labels(self.model, running.assignment.experiment, arm, reason).inc()
