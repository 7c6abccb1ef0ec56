"""The collector's routes as a plain ASGI application."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

import orjson
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from models.experiments.events import KEY_HEADER
from serving.rollout.collector.body import read_body
from serving.rollout.collector.faults import RequestError, StoreError
from serving.rollout.collector.metrics import Metrics
from serving.rollout.collector.rights import Right, Rights
from serving.rollout.collector.service import RETRY_AFTER, Collector, Taken

log = logging.getLogger("sightline.collector")
CLOUDEVENTS = "application/cloudevents-batch+json"
JSON = "application/json"
Handler = Callable[[Request], Awaitable[Response]]


def asgi(collector: Collector, metrics: Metrics, *, rights: Rights, max_body_bytes: int) -> Starlette:
    """The application. Health is everybody's; the rest wants a token with the route's right."""

    def sender_of(request: Request, right: Right) -> str:
        with metrics.refusing(right.value):
            return rights.sender(request, right)

    async def body_of(request: Request, kind: str) -> bytes:
        return await read_body(request, (kind,), max_body_bytes)

    def taking(right: Right, kind: str, store: Callable[[bytes, str], Awaitable[Taken]]) -> Handler:
        async def handler(request: Request) -> Response:
            sender = sender_of(request, right)
            collector.refuse_other_key(request.headers.get(KEY_HEADER))
            with collector.place():
                taken = await store(await body_of(request, kind), sender)
            return _json(taken.payload(), taken.status)

        return handler

    def of_users(act: Callable[[bytes], Awaitable[dict[str, object]]]) -> Handler:
        async def handler(request: Request) -> Response:
            sender_of(request, Right.FORGET)
            return _json(await act(await body_of(request, JSON)))

        return handler

    def answering(question: str) -> Handler:
        async def handler(request: Request) -> Response:
            sender_of(request, Right.EVIDENCE)
            return Response(await collector.ask(question, await body_of(request, JSON)), media_type=JSON)

        return handler

    return Starlette(
        routes=[
            _post("/v1/exposures", taking(Right.EXPOSURES, CLOUDEVENTS, collector.exposures)),
            _post("/v1/outcomes", taking(Right.OUTCOMES, JSON, collector.outcomes)),
            _post("/v1/evidence", answering("evidence")),
            _post("/v1/quantiles", answering("quantiles")),
            _post("/v1/users/find", of_users(collector.find)),
            _post("/v1/users/forget", of_users(collector.forget)),
            *_health(collector),
        ],
        exception_handlers={
            RequestError: _refused,
            StoreError: _not_stored,
            HTTPException: _no_route,
            500: _fault,
        },
    )


def _health(collector: Collector) -> list[Route]:
    async def live(request: Request) -> Response:
        return _json({"alive": collector.alive}, 200 if collector.alive else 503)

    async def ready(request: Request) -> Response:
        reason = await collector.ready()
        return _json({"ready": True}) if reason is None else _json({"ready": False, "reason": reason}, 503)

    return [Route("/health/live", live), Route("/health/ready", ready)]


def _post(path: str, handler: Handler) -> Route:
    return Route(path, handler, methods=["POST"])


def _json(document: object, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(orjson.dumps(document), status, headers, JSON)


def error_json(status: int, message: str) -> bytes:
    """The body of an error that is met before a request is complete; `serving.http_server.Refusal`."""
    return orjson.dumps({"error": {"field": "request", "message": message}})


def _error(status: int, field: str, message: str, retry_after: int | None = None) -> Response:
    headers = None if retry_after is None else {"Retry-After": str(retry_after)}
    return _json({"error": {"field": field, "message": message}}, status, headers)


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestError), "registered for this class"
    response = _error(error.status, error.field, str(error), error.retry_after)
    if error.status == 401:
        response.headers["WWW-Authenticate"] = "Bearer"
    return response


async def _not_stored(request: Request, error: Exception) -> Response:
    return _error(503, "database", str(error), RETRY_AFTER)


async def _no_route(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException), "registered for this class"
    here = "POST /v1/exposures, /v1/outcomes, /v1/evidence, /v1/quantiles, /v1/users/find, /v1/users/forget; "
    here += "GET /health/live, /health/ready"
    message = f"{request.method} {request.url.path[:200]}: {error.detail}; there are {here}; "
    message += "metrics are on --metrics-port"
    response = _error(error.status_code, "path", message)
    response.headers.update(error.headers or {})
    return response


async def _fault(request: Request, error: Exception) -> Response:
    log.error("%s %s failed", request.method, request.url.path, exc_info=error)
    return _error(500, "request", "a fault of the collector; its log has the details")
