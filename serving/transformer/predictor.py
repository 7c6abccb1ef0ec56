"""Scores from Triton: one gRPC channel, raw tensors, a deadline, and retries inside it."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

import grpc
import numpy as np
import numpy.typing as npt

from serving.tls import advice
from serving.transformer import wire
from serving.transformer.errors import PredictorAnswerError, PredictorDeadlineError, PredictorUnavailableError

FIRST_PAUSE = 0.025
LONGEST_PAUSE = 0.4
DEFAULT_PORT = 80
_RETRIED = frozenset({grpc.StatusCode.UNAVAILABLE})
_GONE = _RETRIED | {grpc.StatusCode.NOT_FOUND}  # NOT_FOUND: Triton lives and lost the model


@dataclass(frozen=True, slots=True)
class Answer:
    """Scores float32 [rows], and the version of the model that gave them."""

    scores: npt.NDArray[np.float32]
    model_version: str


def channel_target(host: str) -> str:
    """`host` or `host:port` as gRPC wants it; without a port it is the port of a KServe Service, 80.

    `dns:///` makes gRPC look all addresses up, so that round_robin spreads over the pods of a headless Service.
    """
    if "://" in host or host.startswith(("unix:", "dns:", "ipv4:", "ipv6:")):
        return host
    bare = host.rpartition("]")[2] if host.startswith("[") else host
    return f"dns:///{host}" if ":" in bare else f"dns:///{host}:{DEFAULT_PORT}"


def open_channel(
    host: str, max_message_bytes: int, *, authorities: bytes | None = None, name: str | None = None
) -> grpc.aio.Channel:
    """A channel to Triton; it connects by itself, and again within a second when Triton comes back.

    With `authorities` (PEM) it speaks TLS, to a server whose certificate they signed for `name`, or for the host.
    """
    service: dict[str, Any] = {"loadBalancingConfig": [{"round_robin": {}}]}
    options: list[tuple[str, Any]] = [
        ("grpc.service_config", json.dumps(service)),
        ("grpc.enable_retries", 0),  # ours know the deadline and are counted
        ("grpc.enable_http_proxy", 0),  # what the environment says of proxies is for the internet
        ("grpc.max_send_message_length", max_message_bytes),
        ("grpc.max_receive_message_length", max_message_bytes),
        ("grpc.keepalive_time_ms", 20_000),
        ("grpc.keepalive_timeout_ms", 5_000),
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.min_reconnect_backoff_ms", 100),
        ("grpc.max_reconnect_backoff_ms", 1_000),
        ("grpc.dns_min_time_between_resolutions_ms", 1_000),
    ]
    if authorities is None:
        return grpc.aio.insecure_channel(channel_target(host), options=options)
    if name is not None:
        options.append(("grpc.ssl_target_name_override", name))
    return grpc.aio.secure_channel(channel_target(host), grpc.ssl_channel_credentials(authorities), options=options)


class Predictor:
    """Triton's inference service. `clock` gives seconds, `uniform(a, b)` a random number, `sleep` waits."""

    def __init__(
        self,
        channel: grpc.aio.Channel,
        *,
        retries: int,
        retry_after: float,
        clock: Callable[[], float],
        uniform: Callable[[float, float], float],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        on_retry: Callable[[], None] = lambda: None,
    ) -> None:
        self._retries, self._retry_after = retries, retry_after
        self._clock, self._uniform, self._sleep, self._on_retry = clock, uniform, sleep, on_retry
        self._infer = _method(channel, "ModelInfer", wire.ModelInferRequest, wire.ModelInferResponse)
        self._config = _method(channel, "ModelConfig", wire.ModelConfigRequest, wire.ModelConfigResponse)
        self._ready = _method(channel, "ModelReady", wire.ModelReadyRequest, wire.ModelReadyResponse)

    async def score(self, model: str, tensors: Mapping[str, npt.NDArray[Any]], deadline: float) -> Answer:
        """Score the rows of `tensors`. `deadline` is a moment of `clock`.

        Raises `PredictorUnavailableError`, `PredictorDeadlineError`, `PredictorAnswerError`.
        """
        request = infer_request(model, tensors)
        response = await self._call(self._infer, request, deadline)
        rows = len(next(iter(tensors.values())))
        return Answer(read_scores(response, rows), response.model_version)

    async def config(self, model: str, deadline: float) -> Any:
        """Triton's ModelConfig of the model. Raises like `score`."""
        response = await self._call(self._config, wire.ModelConfigRequest(name=model), deadline)
        return response.config

    async def ready(self, model: str, deadline: float) -> bool:
        """Whether Triton has a version of the model ready. Raises like `score`."""
        response = await self._call(self._ready, wire.ModelReadyRequest(name=model), deadline)
        return bool(response.ready)

    async def _call(self, method: Any, request: Any, deadline: float) -> Any:
        """Call until an answer, a refusal that will not change, the last retry or the deadline."""
        pause = FIRST_PAUSE
        for attempt in range(self._retries + 1):
            left = deadline - self._clock()
            if left <= 0:
                break
            try:
                return await method(request, timeout=left)
            except grpc.aio.AioRpcError as cause:
                wait = self._uniform(pause / 2, pause)
                last = attempt == self._retries or self._clock() + wait >= deadline
                if last or cause.code() not in _RETRIED:
                    raise self._translated(cause) from cause
            self._on_retry()
            await self._sleep(wait)
            pause = min(pause * 2, LONGEST_PAUSE)
        message = "the predictor (Triton) was not asked: no time was left; allow more time"
        raise PredictorDeadlineError(message, self._retry_after)

    def _translated(self, cause: grpc.aio.AioRpcError) -> Exception:
        detail = cause.details() or cause.code().name
        if todo := advice(detail, "predictor_ca_file (and predictor_tls_name)"):
            message = f"the predictor (Triton) is not believed: {detail}; {todo}"
            return PredictorUnavailableError(message, self._retry_after)
        if cause.code() in _GONE:
            told = f"{detail} (if it speaks TLS, set predictor_ca_file)" if "Socket closed" in detail else detail
            message = f"the predictor (Triton) is unavailable: {told}; try again in {self._retry_after:g} s"
            return PredictorUnavailableError(message, self._retry_after)
        if cause.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
            message = f"the predictor (Triton) did not answer in time: {detail}; try again, or allow more time"
            return PredictorDeadlineError(message, self._retry_after)
        return PredictorAnswerError(f"the predictor (Triton) refused the tensors ({cause.code().name}): {detail}")


def infer_request(model: str, tensors: Mapping[str, npt.NDArray[Any]]) -> Any:
    """The ModelInferRequest of named, C-contiguous tensors; their bytes are sent as they lie in memory."""
    inputs = [
        {"name": name, "datatype": wire.DATATYPES[tensor.dtype.name][0], "shape": tensor.shape}
        for name, tensor in tensors.items()
    ]
    contents = [tensor.tobytes() for tensor in tensors.values()]
    return wire.ModelInferRequest(model_name=model, inputs=inputs, raw_input_contents=contents)


def read_scores(response: Any, rows: int) -> npt.NDArray[np.float32]:
    """The `score` output as float32 [rows]. Raises `PredictorAnswerError` for anything that is not that."""
    for output, raw in zip(response.outputs, response.raw_output_contents, strict=False):
        if output.name != "score":
            continue
        if output.datatype != "FP32" or len(raw) != 4 * rows:
            found = f"{output.datatype} {list(output.shape)} in {len(raw)} bytes"
            raise PredictorAnswerError(f"the predictor's score is {found}; expected FP32 [{rows}]; {_CHECK}")
        scores = np.frombuffer(raw, np.dtype("<f4"))
        if not np.isfinite(scores).all():
            count = int((~np.isfinite(scores)).sum())
            raise PredictorAnswerError(f"{count} of {rows} scores are not finite; {_CHECK}")
        return scores
    names = [output.name for output in response.outputs]
    raise PredictorAnswerError(f"the predictor answered with outputs {names}; expected 'score'; {_CHECK}")


def _method(channel: grpc.aio.Channel, name: str, request: Any, response: Any) -> Any:
    return channel.unary_unary(
        wire.SERVICE + name,
        request_serializer=request.SerializeToString,
        response_deserializer=response.FromString,
    )


_CHECK = "check the model in Triton"
