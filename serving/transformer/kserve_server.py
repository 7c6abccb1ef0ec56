"""The process's servers: KServe's REST application behind our front, KServe's gRPC service. Imports kserve.

KServe's own `ModelServer.start` binds every interface, answers ready without asking anybody, turns binary tensors
into Python lists and maps half of its errors to UNKNOWN; its parts are used here, put together differently.
"""

import asyncio
import logging
import signal
from collections.abc import Sequence
from dataclasses import dataclass

import kserve.model_server
import orjson
from kserve import ModelRepository
from kserve.protocol.dataplane import DataPlane
from kserve.protocol.model_repository_extension import ModelRepositoryExtension
from kserve.protocol.rest.server import RESTServer
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse

from models.version import project_version
from serving.http_server import Server, server_config
from serving.listening import bound
from serving.transformer.held_bytes import HeldBytes
from serving.transformer.kserve_grpc import RankServicer, grpc_server
from serving.transformer.kserve_model import RankerModel
from serving.transformer.naming import ArmNaming
from serving.transformer.rest import RestFront
from serving.transformer.service import Service

log = logging.getLogger("sightline.transformer")


@dataclass(frozen=True, slots=True)
class Listening:
    """Where to listen, how much to take, on how many REST connections and in how many gRPC calls at the same time, how
    long running calls get at the end, and who may name an arm.
    """

    host: str
    http_port: int
    grpc_port: int
    max_body_bytes: int
    max_grpc_message_bytes: int
    max_held_bytes: int
    max_grpc_calls: int
    grpc_connection_age_seconds: float
    retry_after_seconds: float
    max_connections: int
    grace_seconds: float
    naming: ArmNaming


class RankDataPlane(DataPlane):  # type: ignore[misc,unused-ignore]
    """KServe's data plane with this server's own name and extensions."""

    def metadata(self) -> dict[str, object]:
        """Server metadata: KServe names its own version, an extension that is refused here, and not the one offered."""
        found: dict[str, object] = super().metadata()
        ours = {"name": "sightline-transformer", "version": project_version(), "extensions": ["binary_tensor_data"]}
        return {**found, **ours}


async def serve(service: Service, models: Sequence[RankerModel], listening: Listening) -> None:
    """Serve until SIGTERM or SIGINT, then finish running calls. Raises OSError or RuntimeError for a taken port."""
    repository = ModelRepository()
    for model in models:
        repository.update(model)
    dataplane, extension = RankDataPlane(repository), ModelRepositoryExtension(repository)
    with bound(listening.host, listening.http_port, "--http_port") as listener:
        listener.set_inheritable(True)
        servicer = RankServicer(service, dataplane, extension, listening.naming)
        over_grpc = grpc_server(
            *(servicer, listening.host, listening.grpc_port),
            max_message_bytes=listening.max_grpc_message_bytes,
            max_calls=listening.max_grpc_calls,
            connection_age_seconds=listening.grpc_connection_age_seconds,
        )
        rest_app = _rest(service, dataplane, extension, listening)
        over_rest = Server(
            server_config(
                rest_app, error_json, grace_seconds=listening.grace_seconds, connections=listening.max_connections
            )
        )
        await over_grpc.start()
        rest = asyncio.create_task(over_rest.serve(sockets=[listener]))
        await _until_asked_to_stop(rest)
        service.drain()
        log.info("shutting down: finishing running calls, %g s at most", listening.grace_seconds)
        over_rest.should_exit = True
        await asyncio.gather(rest, over_grpc.stop(listening.grace_seconds))


def _rest(
    service: Service, dataplane: DataPlane, extension: ModelRepositoryExtension, listening: Listening
) -> RestFront:
    RESTServer("", dataplane, extension, listening.http_port).create_application()
    kserve.model_server.app.add_exception_handler(HTTPException, _not_found)
    held = HeldBytes(listening.max_held_bytes, listening.retry_after_seconds)
    return RestFront(service, kserve.model_server.app, listening.max_body_bytes, held, listening.naming)


def error_json(status: int, message: str) -> bytes:
    """The body of an error that is met before a request is complete; `serving.http_server.Refusal`."""
    return orjson.dumps({"error": message})


async def _not_found(request: Request, error: Exception) -> JSONResponse:
    """An unknown path or method, in the form that the Open Inference Protocol gives errors."""
    assert isinstance(error, HTTPException), "registered for this class"
    message = f"{request.method} {request.url.path[:200]}: {error.detail}; the paths are those of KServe V1 and V2"
    return JSONResponse({"error": message}, error.status_code, dict(error.headers or {}))


async def _until_asked_to_stop(rest: asyncio.Task[None]) -> None:
    """Return at SIGTERM, at SIGINT, or when the REST server ends by itself."""
    asked = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, asked.set)
    waiting = asyncio.create_task(asked.wait())
    await asyncio.wait({waiting, rest}, return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
