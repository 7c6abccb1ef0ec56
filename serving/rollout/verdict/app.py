"""The routes: a verdict for Argo Rollouts' web metric, gates for Flagger's webhooks, health and metrics."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable
from typing import Any

import orjson
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, generate_latest
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from serving.rollout.verdict.answer import Answer, Word, answer
from serving.rollout.verdict.faults import LateError, OtherBundleError, QuestionError, TooLongError, VerdictError
from serving.rollout.verdict.source import Experiments

MOST_BYTES = 65_536
"""Of a webhook's body; Flagger's are some hundred bytes."""
BODY_SECONDS = 30.0
_NAME = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?")
_ROLLBACK = frozenset({Word.HARM, Word.INCONCLUSIVE})
Endpoint = Callable[[Request], Awaitable[Response]]
log = logging.getLogger("sightline.verdict")


def asgi(experiments: Experiments, registry: CollectorRegistry) -> Starlette:
    """The application; it changes nothing anywhere, so that it may be mounted beside other routes."""
    asked = Counter(
        "sightline_verdict_requests",
        "Verdicts asked for, and what was answered",
        ["route", "answer"],
        registry=registry,
    )

    async def verdict(request: Request) -> Response:
        told = await _ask(experiments, request.path_params, request.query_params.get("bundle"))
        asked.labels("verdict", told.verdict).inc()
        return Response(told.model_dump_json(by_alias=True), media_type="application/json")

    async def confirm(request: Request) -> Response:
        told = await _hook(experiments, request)
        asked.labels("confirm-promotion", told.verdict).inc()
        return _gate(told.verdict is Word.WIN, told)

    async def rollback(request: Request) -> Response:
        told = await _hook(experiments, request)
        asked.labels("rollback", told.verdict).inc()
        return _gate(told.verdict in _ROLLBACK, told)

    async def live(_: Request) -> Response:
        return PlainTextResponse("alive")

    async def ready(_: Request) -> Response:
        await run_in_threadpool(experiments.reach)
        return PlainTextResponse("ready")

    async def metrics(_: Request) -> Response:
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)

    async def refused(request: Request, error: Exception) -> Response:
        assert isinstance(error, VerdictError)
        route = request.url.path.rsplit("/", 1)[-1] if request.method == "POST" else "verdict"
        if not request.url.path.startswith("/health"):
            asked.labels(route, error.kind).inc()
        log.warning("%s %s: %s", request.method, request.url.path, error)
        return Response(orjson.dumps({"error": str(error)}), status_code=error.status, media_type="application/json")

    routes = [
        Route("/v1/verdicts/{namespace}/{name}", verdict, methods=["GET"]),
        Route("/v1/flagger/confirm-promotion", confirm, methods=["POST"]),
        Route("/v1/flagger/rollback", rollback, methods=["POST"]),
        Route("/health/live", live),
        Route("/health/ready", ready),
        Route("/metrics", metrics),
    ]
    handlers = {VerdictError: refused, HTTPException: _no_route, 500: _fault}
    return Starlette(routes=routes, exception_handlers=handlers)


def error_json(status: int, message: str) -> bytes:
    """The body of every error; `serving.http_server.Refusal`."""
    return orjson.dumps({"error": message})


async def _no_route(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException), "registered for this class"
    here = "GET /v1/verdicts/NAMESPACE/NAME, POST /v1/flagger/confirm-promotion and /v1/flagger/rollback"
    message = f"{request.method} {request.url.path[:200]}: {error.detail}; there are {here}"
    status, headers = error.status_code, error.headers
    return Response(error_json(status, message), status, headers, "application/json")


async def _fault(request: Request, error: Exception) -> Response:
    log.error("%s %s failed", request.method, request.url.path, exc_info=error)
    message = "a fault of the verdict service; its log has the details"
    return Response(error_json(500, message), 500, media_type="application/json")


def _gate(open_: bool, told: Answer) -> Response:
    """200 to do it, 403 not to; Flagger puts the words into its events."""
    return PlainTextResponse(f"{told.verdict}: {told.headline}", status_code=200 if open_ else 403)


async def _ask(experiments: Experiments, named: dict[str, Any], bundle: str | None) -> Answer:
    for field in ("namespace", "name"):
        if not isinstance(named.get(field), str) or not _NAME.fullmatch(named[field]):
            raise QuestionError(f"{field} is {named.get(field)!r}; expected the name of an Experiment's {field}")
    told = answer(await run_in_threadpool(experiments.find, named["namespace"], named["name"]))
    if bundle is not None and bundle != told.bundle:
        raise OtherBundleError(
            f"Experiment {told.experiment} is about bundle {told.bundle!r} and not about {bundle!r}; its verdict says "
            "nothing of that one"
        )
    return told


async def _body(request: Request) -> bytes:
    body = b""
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for piece in request.stream():
                body += piece
                if len(body) > MOST_BYTES:
                    raise TooLongError(f"the body is longer than {MOST_BYTES} bytes; expected Flagger's payload")
    except TimeoutError as error:
        raise LateError(f"only {len(body)} bytes of the body came in {BODY_SECONDS:g} s; send it at once") from error
    except ClientDisconnect as error:
        raise QuestionError("the connection was closed before the body's end") from error
    return body


async def _hook(experiments: Experiments, request: Request) -> Answer:
    """Flagger sends the canary's name and namespace; metadata may name another experiment, and the bundle."""
    body = await _body(request)
    try:
        payload = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise QuestionError(f"the body is no JSON ({error}); expected Flagger's webhook payload") from error
    metadata = payload.get("metadata") or {} if isinstance(payload, dict) else None
    if not isinstance(metadata, dict):
        raise QuestionError("the body has no name, namespace and metadata; expected Flagger's webhook payload")
    named = {"namespace": payload.get("namespace"), "name": metadata.get("experiment", payload.get("name"))}
    return await _ask(experiments, named, metadata.get("bundle"))
