"""The collector's routes as a plain ASGI application."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

import orjson
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from serving.rollout.collector.body import read_body, require_token
from serving.rollout.collector.faults import RequestError, StoreError
from serving.rollout.collector.metrics import Metrics
from serving.rollout.collector.service import RETRY_AFTER, Collector

log = logging.getLogger("sightline.collector")
CLOUDEVENTS = "application/cloudevents-batch+json"
JSON = "application/json"
Handler = Callable[[Request], Awaitable[Response]]


def asgi(collector: Collector, metrics: Metrics, *, token: str | None, max_body_bytes: int) -> Starlette:
    """The application. Without a token everybody who reaches it may call it."""

    async def body_of(request: Request, kind: str) -> bytes:
        require_token(request, token)
        return await read_body(request, (kind,), max_body_bytes)

    async def exposures(request: Request) -> Response:
        with collector.place():
            taken = await collector.exposures(await body_of(request, CLOUDEVENTS))
        return _json(taken.payload(), taken.status)

    async def outcomes(request: Request) -> Response:
        with collector.place():
            taken = await collector.outcomes(await body_of(request, JSON))
        return _json(taken.payload(), taken.status)

    async def forget(request: Request) -> Response:
        return _json(await collector.forget(await body_of(request, JSON)))

    async def evidence(request: Request) -> Response:
        return Response(await collector.ask("evidence", await body_of(request, JSON)), media_type=JSON)

    async def quantiles(request: Request) -> Response:
        return Response(await collector.ask("quantiles", await body_of(request, JSON)), media_type=JSON)

    async def live(request: Request) -> Response:
        return _json({"alive": collector.alive}, 200 if collector.alive else 503)

    async def ready(request: Request) -> Response:
        reason = await collector.ready()
        return _json({"ready": True}) if reason is None else _json({"ready": False, "reason": reason}, 503)

    async def shown(request: Request) -> Response:
        return Response(generate_latest(metrics.registry), media_type=CONTENT_TYPE_LATEST)

    return Starlette(
        routes=[
            _post("/v1/exposures", exposures),
            _post("/v1/outcomes", outcomes),
            _post("/v1/evidence", evidence),
            _post("/v1/quantiles", quantiles),
            _post("/v1/users/forget", forget),
            Route("/health/live", live),
            Route("/health/ready", ready),
            Route("/metrics", shown),
        ],
        exception_handlers={
            RequestError: _refused,
            StoreError: _not_stored,
            HTTPException: _no_route,
            500: _fault,
        },
    )


def _post(path: str, handler: Handler) -> Route:
    return Route(path, handler, methods=["POST"])


def _json(document: object, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(orjson.dumps(document), status, headers, JSON)


def _error(status: int, field: str, message: str, retry_after: int | None = None) -> Response:
    headers = None if retry_after is None else {"Retry-After": str(retry_after)}
    return _json({"error": {"field": field, "message": message}}, status, headers)


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestError), "registered for this class"
    return _error(error.status, error.field, str(error), error.retry_after)


async def _not_stored(request: Request, error: Exception) -> Response:
    return _error(503, "database", str(error), RETRY_AFTER)


async def _no_route(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException), "registered for this class"
    here = "POST /v1/exposures, /v1/outcomes, /v1/evidence, /v1/quantiles, /v1/users/forget; GET /health/live, "
    message = f"{request.method} {request.url.path[:200]}: {error.detail}; there are {here}/health/ready, /metrics"
    response = _error(error.status_code, "path", message)
    response.headers.update(error.headers or {})
    return response


async def _fault(request: Request, error: Exception) -> Response:
    log.error("%s %s failed", request.method, request.url.path, exc_info=error)
    return _error(500, "request", "a fault of the collector; its log has the details")
