"""A ranker as KServe's `Model`: encode, ask Triton, order, in KServe's three steps. Importing kserve reads sys.argv."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kserve import Model

from serving.transformer import v2
from serving.transformer.errors import NotReadyError, NotSupportedError
from serving.transformer.predictor import Answer
from serving.transformer.ranker import Prepared, Ranker, Ranking
from serving.transformer.request import RankRequest


@dataclass(frozen=True, slots=True)
class Asked:
    """What goes into `preprocess`: requests, and the seconds that the caller has left."""

    requests: Sequence[RankRequest]
    timeout: float | None


@dataclass(frozen=True, slots=True)
class Encoded:
    """What goes into `predict`."""

    prepared: Sequence[Prepared]
    deadline: float


@dataclass(frozen=True, slots=True)
class Scored:
    """What goes into `postprocess`."""

    prepared: Sequence[Prepared]
    answers: Sequence[Answer]


class RankerModel(Model):  # type: ignore[misc,unused-ignore]
    """KServe's view of a `Ranker`: its name, its health, its metadata, and its steps timed by KServe's metrics."""

    def __init__(self, ranker: Ranker) -> None:
        super().__init__(ranker.name)
        self._ranker = ranker
        self._require_ready: Callable[[], None] = ranker.handshake.require
        self.ready = True  # the process can answer; whether Triton can is what `healthy` tells

    def answers_when(self, require_ready: Callable[[], None]) -> None:
        """Health is what this says, which raises `NotReadyError`: another arm may be answering all users."""
        self._require_ready = require_ready

    async def rank(self, requests: Sequence[RankRequest], timeout: float | None) -> list[Ranking]:
        """Run the three steps. Raises `ServiceError`."""
        rankings, _ = await self(Asked(requests, timeout))
        found: list[Ranking] = rankings
        return found

    async def healthy(self) -> bool:
        """Whether users can be answered: Triton serves the contract of our bundle."""
        try:
            self._require_ready()
        except NotReadyError:
            return False
        return True

    def get_input_types(self) -> list[dict[str, Any]]:
        """Inputs for the model metadata."""
        return v2.metadata(v2.INPUTS)

    def get_output_types(self) -> list[dict[str, Any]]:
        """Outputs for the model metadata."""
        return v2.metadata(v2.OUTPUTS)

    async def preprocess(self, payload: Any, headers: Mapping[str, str] | None = None) -> Encoded:
        """Encode, and let other calls have a turn after each request.

        Only what `rank` hands in is known: KServe's own decoders are not in the way of a call.
        """
        if not isinstance(payload, Asked):
            raise NotSupportedError("this form of call is not offered; use :predict or /infer")
        deadline = self._ranker.deadline(payload.timeout)
        prepared: list[Prepared] = []
        for request in payload.requests:
            if prepared:
                await asyncio.sleep(0)
            prepared.append(await self._ranker.prepare(request, deadline))
        return Encoded(prepared, deadline)

    async def predict(self, payload: Encoded, headers: Mapping[str, str] | None = None) -> Scored:
        """Ask Triton."""
        return Scored(payload.prepared, await self._ranker.predict(payload.prepared, payload.deadline))

    def postprocess(self, result: Scored, headers: Mapping[str, str] | None = None) -> list[Ranking]:
        """Order."""
        return self._ranker.finish(result.prepared, result.answers)
