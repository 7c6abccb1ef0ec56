"""Shadow: the candidate scores a user's candidates too, after the user has the answer, and the two are compared."""

import asyncio
import logging
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from models.contract import ContractError
from serving.transformer.arm_metrics import DROPPED, FAILED, OK, ArmMetrics
from serving.transformer.candidate import Candidate
from serving.transformer.errors import ServiceError
from serving.transformer.ranker import Ranking
from serving.transformer.ranking import best_first

BEST = 10
log = logging.getLogger("sightline.transformer")


class Shadow:
    """Scores in the background, at most `limit` rankings at a time; those beyond are dropped and counted."""

    def __init__(self, model: str, metrics: ArmMetrics, *, limit: int, clock: Callable[[], float]) -> None:
        self._model, self._metrics, self._limit, self._clock = model, metrics, limit, clock
        self._running: set[asyncio.Task[None]] = set()

    def offer(self, experiment: str, candidate: Candidate, ranking: Ranking) -> None:
        """Have the candidate score what was ranked. Returns at once: the task begins when the answer is on its way."""
        if len(self._running) >= self._limit:
            self._count(experiment, candidate, DROPPED)
            return
        task = asyncio.create_task(self._compare(experiment, candidate, ranking))
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def close(self) -> None:
        """End what runs."""
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)

    async def _compare(self, experiment: str, candidate: Candidate, ranking: Ranking) -> None:
        outcome = FAILED
        try:
            async with asyncio.timeout(candidate.seconds):
                ranker = candidate.ranker()
                deadline = self._clock() + candidate.seconds
                prepared = await ranker.prepare(ranking.request, deadline)
                answer = await ranker.score(prepared, deadline)
            labels = (self._model, experiment, candidate.arm.name)
            self._metrics.shadow_difference.labels(*labels).observe(difference(ranking.scores, answer.scores))
            self._metrics.shadow_overlap.labels(*labels).observe(overlap(ranking.order, best_first(answer.scores)))
            outcome = OK
        except (TimeoutError, ServiceError, ContractError) as error:
            log.debug("shadow of arm %s: %s", candidate.arm.name, error)
        finally:
            self._count(experiment, candidate, outcome)

    def _count(self, experiment: str, candidate: Candidate, outcome: str) -> None:
        self._metrics.shadow.labels(self._model, experiment, candidate.arm.name, outcome).inc()


def difference(ours: npt.NDArray[np.float32], theirs: npt.NDArray[np.float32]) -> float:
    """Mean absolute difference of two float [n]."""
    return float(np.abs(ours - theirs).mean())


def overlap(ours: npt.NDArray[np.int64], theirs: npt.NDArray[np.int64]) -> float:
    """Share of the best ten of two orders, int64 [n], that are in both; of all if they are fewer than ten."""
    return len(set(ours[:BEST].tolist()) & set(theirs[:BEST].tolist())) / min(BEST, len(ours))
