"""The served models by name: bodies in, bodies out, counted; REST and gRPC both come here."""

import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

from serving.transformer import v2
from serving.transformer.errors import NotReadyError, ServiceError, UnknownModelError
from serving.transformer.metrics import Metrics
from serving.transformer.ranker import Ranking
from serving.transformer.request import RankRequest, RequestParser
from serving.transformer.v1 import write_v1
from serving.transformer.v2_grpc import read_grpc, write_grpc
from serving.transformer.v2_json import parse_json, read_rest, write_rest

RankCall = Callable[[Sequence[RankRequest], float | None, str | None], Awaitable[list[Ranking]]]


class Readiness(Protocol):
    """Knows whether a model may answer."""

    def require(self) -> None:
        """Raise `NotReadyError` unless it may."""
        ...


@dataclass(frozen=True, slots=True)
class Served:
    """One model: `rank(requests, seconds left or None, arm that the call names or None)` answers."""

    rank: RankCall
    parser: RequestParser
    readiness: Readiness


class Service:
    """All models of this process."""

    def __init__(
        self,
        models: Mapping[str, Served],
        metrics: Metrics,
        retry_after: float,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._models, self._metrics, self._clock = models, metrics, clock
        self._retry_after = retry_after
        self._draining = False

    async def v1(self, name: str, body: bytes, arm: str | None = None) -> bytes:
        """Answer a V1 predict body; `arm` is the one that the call names. Raises `ServiceError`."""
        with self._counted(name, "v1"):
            served = self._served(name)
            requests = served.parser.v1(parse_json(body))
            return write_v1(name, await served.rank(requests, None, arm))

    async def v2_rest(
        self, name: str, body: bytes, header_length: str | None, arm: str | None = None
    ) -> tuple[bytes, int | None]:
        """Answer a V2 infer body; returns the body and the length of its JSON part if it is binary."""
        with self._counted(name, "v2-rest"):
            served = self._served(name)
            rest = read_rest(body, header_length)
            answer = await self._infer(served, rest.call, None, arm)
            return write_rest(name, answer, rest.binary)

    async def v2_grpc(self, pb: Any, request: Any, seconds_left: float | None, arm: str | None = None) -> Any:
        """Answer a ModelInferRequest with a ModelInferResponse of the module `pb`. Raises `ServiceError`."""
        name = request.model_name
        with self._counted(name, "v2-grpc"):
            served = self._served(name, request.model_version)
            answer = await self._infer(served, read_grpc(request), seconds_left, arm)
            return write_grpc(pb, name, answer, raw=bool(len(request.raw_input_contents)))

    def drain(self) -> None:
        """Be no longer ready; calls are still answered."""
        self._draining = True

    def require_ready(self, name: str | None = None) -> None:
        """Raise `NotReadyError` unless the model, or every model, is ready; `UnknownModelError` for another name."""
        if self._draining:
            raise NotReadyError("the server is shutting down; use another one", self._retry_after)
        names = list(self._models) if name is None else [name]
        failures = []
        for one in names:
            try:
                self._served(one).readiness.require()
            except NotReadyError as failure:
                failures.append(failure)
        if failures:
            raise NotReadyError("; ".join(failure.message for failure in failures), failures[0].retry_after)

    def check_name(self, name: str, version: str = "") -> None:
        """Raise `UnknownModelError` unless a model of that name and version is served."""
        self._served(name, version)

    async def _infer(self, served: Served, call: v2.InferCall, left: float | None, arm: str | None) -> v2.InferAnswer:
        request = v2.read_call(call, served.parser)
        limits = [seconds for seconds in (call.timeout, left) if seconds is not None]
        (ranking,) = await served.rank([request], min(limits, default=None), arm)
        return v2.answer(call, ranking)

    def _served(self, name: str, version: str = "") -> Served:
        served = self._models.get(name)
        if served is None:
            known = ", ".join(repr(known) for known in self._models)
            raise UnknownModelError(f"model {name[:64]!r} is not served here; expected one of {known}")
        if version:
            raise UnknownModelError(
                f"version {version[:64]!r} of model {name!r} is not served here: versions are Triton's; leave it out"
            )
        return served

    @contextmanager
    def _counted(self, name: str, protocol: str) -> Iterator[None]:
        """Count the call by its outcome; a name that is not served must not become a label."""
        label = name if name in self._models else ""
        start, outcome = self._clock(), "internal_error"
        try:
            yield
            outcome = "ok"
        except ServiceError as error:
            outcome = error.outcome
            raise
        finally:
            self._metrics.requests.labels(label, protocol, outcome).inc()
            self._metrics.request_seconds.labels(label, protocol).observe(self._clock() - start)
