"""One served model: features, scores, order; everything but the wire."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from models.contract import Contract
from serving.transformer.errors import PredictorAnswerError, PredictorUnavailableError
from serving.transformer.features import FeatureBuilder, Features
from serving.transformer.handshake import Handshake
from serving.transformer.metrics import Metrics
from serving.transformer.predictor import Answer, Predictor
from serving.transformer.ranking import best_first
from serving.transformer.request import RankRequest

STORED, INLINE, MISSING = "known", "inline", "missing"
ARM_AWAY = "candidate_unavailable"


@dataclass(frozen=True, slots=True)
class Prepared:
    """A request with its tensors, on its way to the predictor."""

    request: RankRequest
    features: Features


@dataclass(frozen=True, slots=True)
class Ranking:
    """A request's answer: scores float32 [n] in request order, order int64 [n] best first, and what was known.

    `contract_digest` and `bundle_id` are of the model that gave the scores, empty where the arm is not told. `arm` and
    `experiment` are the user's, for users of an experiment and calls that name an arm; `fallback` says why the arm did
    not answer and stable did.
    """

    request: RankRequest
    features: Features
    scores: npt.NDArray[np.float32]
    order: npt.NDArray[np.int64]
    contract_digest: str
    bundle_id: str
    arm: str | None = None
    experiment: str | None = None
    fallback: str | None = None

    def marked(self, arm: str | None, experiment: str | None, fallback: str | None) -> "Ranking":
        """A copy with these three; made by hand, as `dataclasses.replace` takes several times as long."""
        return Ranking(
            *(self.request, self.features, self.scores, self.order, self.contract_digest, self.bundle_id),
            *(arm, experiment, fallback),
        )

    def hidden(self) -> "Ranking":
        """A copy without what tells the user's arm: the model that answered is an arm's, too."""
        return Ranking(self.request, self.features, self.scores, self.order, "", "")

    @property
    def degraded(self) -> tuple[str, ...]:
        """Reasons why the answer is worse than it could be."""
        found = self.features.degraded
        return found if self.fallback is None else tuple(sorted((*found, ARM_AWAY)))


class Ranker:
    """Ranks requests with one model. `clock` gives seconds; `timeout` is the time that the predictor has.

    `name` is the served model's, under which is counted; `in_triton` the model's name there.
    """

    def __init__(
        self,
        name: str,
        contract: Contract,
        bundle_id: str,
        features: FeatureBuilder,
        predictor: Predictor,
        handshake: Handshake,
        metrics: Metrics,
        *,
        in_triton: str,
        clock: Callable[[], float],
        timeout: float,
    ) -> None:
        self.name, self.contract, self.bundle_id, self.handshake = name, contract, bundle_id, handshake
        self._features, self._predictor, self._metrics = features, predictor, metrics
        self._in_triton, self._clock, self._timeout = in_triton, clock, timeout

    async def rank(self, request: RankRequest, timeout: float | None) -> Ranking:
        """All steps for one request. Raises `ServiceError`."""
        deadline = self.deadline(timeout)
        prepared = await self.prepare(request, deadline)
        answers = await self.predict([prepared], deadline)
        return self.finish([prepared], answers)[0]

    def deadline(self, timeout: float | None) -> float:
        """The moment of the clock until which a call has time: `timeout` is what the caller has left in seconds, if it
        said so; the setting still bounds it.
        """
        return self._clock() + min(self._timeout, self._timeout if timeout is None else timeout)

    async def prepare(self, request: RankRequest, deadline: float) -> Prepared:
        """Encode a request. Raises `NotReadyError`, `InvalidRequestError`, `OverloadedError`."""
        self.handshake.require()
        tokens = await self._features.inline_tokens(request, max(0.0, deadline - self._clock()))
        return Prepared(request, self._features.build(request, tokens))

    async def predict(self, prepared: Sequence[Prepared], deadline: float) -> list[Answer]:
        """Ask Triton for the scores of all, side by side: its dynamic batcher joins them. Raises `ServiceError`."""
        if len(prepared) == 1:
            return [await self._answer(prepared[0], deadline)]
        return list(await asyncio.gather(*(self._answer(one, deadline) for one in prepared)))

    def finish(self, prepared: Sequence[Prepared], answers: Sequence[Answer]) -> list[Ranking]:
        """Order the candidates, and count."""
        digest, bundle_id = self.contract.digest, self.bundle_id
        rankings = [
            Ranking(one.request, one.features, answer.scores, best_first(answer.scores), digest, bundle_id)
            for one, answer in zip(prepared, answers, strict=True)
        ]
        for ranking in rankings:
            self._count(ranking)
        return rankings

    async def score(self, prepared: Prepared, deadline: float) -> Answer:
        """Triton's scores, not counted. `deadline` is a moment of `clock`. Raises `ServiceError`."""
        try:
            answer = await self._predictor.score(self._in_triton, prepared.features.tensors, deadline)
        except (PredictorUnavailableError, PredictorAnswerError):
            self.handshake.doubt()
            raise
        await self.handshake.confirm(answer.model_version)
        return answer

    async def _answer(self, prepared: Prepared, deadline: float) -> Answer:
        start = self._clock()
        answer = await self.score(prepared, deadline)
        self._metrics.predictor_seconds.labels(self.name).observe(self._clock() - start)
        return answer

    def _count(self, ranking: Ranking) -> None:
        metrics, found, name = self._metrics, ranking.features, self.name
        count = len(ranking.scores)
        inline = int(found.caption_inline.sum())
        stored = int((found.caption_stored & ~found.caption_inline).sum())
        metrics.candidates.labels(name).inc(count)
        for kind, number in ((STORED, stored), (INLINE, inline), (MISSING, count - stored - inline)):
            if number:
                metrics.captions.labels(name, kind).inc(number)
        if not found.item_known.all():
            metrics.unknown_items.labels(name).inc(int((~found.item_known).sum()))
        if not found.user_known:
            metrics.unknown_users.labels(name).inc()
        for reason in found.degraded:
            metrics.degraded.labels(name, reason).inc()
        metrics.cache.labels(name, "hit").inc(found.cache_hits)
        metrics.cache.labels(name, "miss").inc(count - found.cache_hits)
