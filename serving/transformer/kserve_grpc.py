"""The gRPC service: KServe's servicer, with our inference, readiness and error codes. Imports kserve."""

import math
from typing import Any, NoReturn

import grpc
from kserve.protocol.dataplane import DataPlane
from kserve.protocol.grpc import grpc_predict_v2_pb2 as pb
from kserve.protocol.grpc.grpc_predict_v2_pb2_grpc import add_GRPCInferenceServiceServicer_to_server
from kserve.protocol.grpc.servicer import InferenceServicer
from kserve.protocol.model_repository_extension import ModelRepositoryExtension

from serving.transformer.errors import NotReadyError, NotSupportedError, ServiceError
from serving.transformer.naming import ArmNaming
from serving.transformer.service import Service


class RankServicer(InferenceServicer):  # type: ignore[misc,unused-ignore]
    """Answers the Open Inference Protocol; KServe's own error mapping misses half of its errors."""

    def __init__(
        self, service: Service, dataplane: DataPlane, repository: ModelRepositoryExtension, naming: ArmNaming
    ) -> None:
        """`naming` says which calls may name the arm that answers, by metadata."""
        super().__init__(dataplane, repository)
        self._service, self._naming = service, naming

    async def ServerReady(self, request: Any, context: Any) -> Any:  # noqa: N802 - the protocol's name
        """True when every model is ready."""
        return pb.ServerReadyResponse(ready=self._is_ready(None))

    async def ModelReady(self, request: Any, context: Any) -> Any:  # noqa: N802
        """True when the model is ready; NOT_FOUND for another name."""
        try:
            self._service.check_name(request.name, request.version)
        except ServiceError as error:
            await _abort(context, error)
        return pb.ModelReadyResponse(ready=self._is_ready(request.name))

    async def ModelMetadata(self, request: Any, context: Any) -> Any:  # noqa: N802
        """Inputs and outputs; NOT_FOUND for another name."""
        try:
            self._service.check_name(request.name, request.version)
        except ServiceError as error:
            await _abort(context, error)
        return await super().ModelMetadata(request, context)

    async def ModelInfer(self, request: Any, context: Any) -> Any:  # noqa: N802
        """Rank."""
        try:
            return await self._service.v2_grpc(pb, request, context.time_remaining(), self._arm(context))
        except ServiceError as error:
            await _abort(context, error)

    async def RepositoryModelLoad(self, request: Any, context: Any) -> NoReturn:  # noqa: N802
        """Not offered."""
        await _abort(context, _FIXED)

    async def RepositoryModelUnload(self, request: Any, context: Any) -> NoReturn:  # noqa: N802
        """Not offered: anybody could take the model away."""
        await _abort(context, _FIXED)

    def _arm(self, context: Any) -> str | None:
        """Raises ForbiddenError."""
        given = {key: value for key, value in context.invocation_metadata() if isinstance(value, str)}
        return self._naming.arm(given.get)

    def _is_ready(self, name: str | None) -> bool:
        try:
            self._service.require_ready(name)
        except NotReadyError:
            return False
        return True


def grpc_server(
    servicer: RankServicer,
    host: str,
    port: int,
    *,
    max_message_bytes: int,
    max_calls: int,
    connection_age_seconds: float,
) -> grpc.aio.Server:
    """A server bound to the address, which holds `max_calls` messages at most; calls beyond are RESOURCE_EXHAUSTED.

    Connections are closed at that age, after their calls: clients look the address up again, and have left a pod that
    ends before it stops, where gRPC would cancel a call that comes at that moment.

    Raises RuntimeError if the port is taken: it is not shared silently.
    """
    server = grpc.aio.server(
        options=[
            ("grpc.so_reuseport", 0),
            ("grpc.max_receive_message_length", max_message_bytes),
            ("grpc.max_send_message_length", max_message_bytes),
            ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
            ("grpc.max_concurrent_streams", max_calls),
            ("grpc.max_connection_age_ms", max(1, round(connection_age_seconds * 1000))),
        ],
        maximum_concurrent_rpcs=max_calls,
    )
    add_GRPCInferenceServiceServicer_to_server(servicer, server)
    server.add_insecure_port(f"[{host}]:{port}" if ":" in host else f"{host}:{port}")
    return server


async def _abort(context: Any, error: ServiceError) -> NoReturn:
    metadata = () if error.retry_after is None else (("retry-after", str(math.ceil(error.retry_after))),)
    await context.abort(grpc.StatusCode[error.grpc_code], error.message, metadata)
    raise AssertionError("abort always raises")


_FIXED = NotSupportedError("models are fixed at start (--model_name, --also); restart to change them")
