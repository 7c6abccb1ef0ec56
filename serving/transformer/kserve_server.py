"""The process's servers: KServe's REST application behind our front, KServe's gRPC service. Imports kserve.

KServe's own `ModelServer.start` binds every interface, answers ready without asking anybody, turns binary tensors
into Python lists and maps half of its errors to UNKNOWN; its parts are used here, put together differently.
"""

import asyncio
import contextlib
import logging
import signal
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import kserve.model_server
import uvicorn
from kserve import ModelRepository
from kserve.protocol.dataplane import DataPlane
from kserve.protocol.model_repository_extension import ModelRepositoryExtension
from kserve.protocol.rest.server import RESTServer
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse

from serving.listening import bound
from serving.transformer.kserve_grpc import RankServicer, grpc_server
from serving.transformer.kserve_model import RankerModel
from serving.transformer.rest import RestFront
from serving.transformer.service import Service

KEEP_ALIVE_SECONDS = 65  # longer than a proxy's idle time, or the proxy meets closed connections
log = logging.getLogger("sightline.transformer")


@dataclass(frozen=True, slots=True)
class Listening:
    """Where to listen, how much to take, how long running calls get at shutdown, where a call may name an arm."""

    host: str
    http_port: int
    grpc_port: int
    max_message_bytes: int
    grace_seconds: float
    arm_header: str


class RankDataPlane(DataPlane):  # type: ignore[misc,unused-ignore]
    """KServe's data plane with this server's own name and extensions."""

    def metadata(self) -> dict[str, object]:
        """Server metadata: KServe names an extension that is refused here, and not the one that is offered."""
        found: dict[str, object] = super().metadata()
        return {**found, "name": "sightline-transformer", "extensions": ["binary_tensor_data"]}


class _Uvicorn(uvicorn.Server):
    """Uvicorn without its signal handlers, which would end REST and leave gRPC to be killed."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Signals belong to `serve`, which drains both servers."""
        yield


async def serve(service: Service, models: Sequence[RankerModel], listening: Listening) -> None:
    """Serve until SIGTERM or SIGINT, then finish running calls. Raises OSError or RuntimeError for a taken port."""
    repository = ModelRepository()
    for model in models:
        repository.update(model)
    dataplane, extension = RankDataPlane(repository), ModelRepositoryExtension(repository)
    with bound(listening.host, listening.http_port, "--http_port") as listener:
        listener.set_inheritable(True)
        servicer = RankServicer(service, dataplane, extension, listening.arm_header)
        over_grpc = grpc_server(servicer, listening.host, listening.grpc_port, listening.max_message_bytes)
        over_rest = _Uvicorn(_uvicorn_config(service, dataplane, extension, listening))
        await over_grpc.start()
        rest = asyncio.create_task(over_rest.serve(sockets=[listener]))
        await _until_asked_to_stop(rest)
        service.drain()
        log.info("shutting down: finishing running calls, %g s at most", listening.grace_seconds)
        over_rest.should_exit = True
        await asyncio.gather(rest, over_grpc.stop(listening.grace_seconds))


def _uvicorn_config(
    service: Service, dataplane: DataPlane, extension: ModelRepositoryExtension, listening: Listening
) -> uvicorn.Config:
    RESTServer("", dataplane, extension, listening.http_port).create_application()
    kserve.model_server.app.add_exception_handler(HTTPException, _not_found)
    return uvicorn.Config(
        RestFront(service, kserve.model_server.app, listening.max_message_bytes, listening.arm_header),
        http="httptools",
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=max(1, round(listening.grace_seconds)),
    )


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
