"""The HTTP side of the service as a plain ASGI application; Ray comes in through `Captions` only."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from serving.captioner.base64_text import Base64
from serving.captioner.body import Entry, Url, declared_bytes, read_entries
from serving.captioner.decoding import Decoder
from serving.captioner.fetch import ByteBudget, Fetcher
from serving.captioner.gate import Gate
from serving.captioner.metrics import CONTENT_TYPE, Meter
from serving.captioner.model import Answer, Captioned, Pixels
from serving.captioner.refusal import ImageRefused, Refusal, RequestRefused

logger = logging.getLogger("ray.serve")
_FETCHES = 8  # URLs of one request fetched at the same time


class Captions(Protocol):
    """The model side, as the ingress sees it."""

    async def caption(self, images: Sequence[Pixels]) -> Answer:
        """Caption one call's images.

        Raises:
            RequestRefused: 503 when the model side is busy or away.
        """
        ...

    async def replicas(self) -> int:
        """Model replicas that can take calls now."""
        ...


@dataclass(frozen=True, slots=True)
class _Picture:
    pixels: Pixels
    notes: tuple[str, ...]


class CaptionService:
    """The endpoint's work: admission, decoding in threads, captioning in calls of `call_images` images."""

    def __init__(
        self,
        captions: Captions,
        meter: Meter,
        decoder: Decoder,
        fetcher: Fetcher,
        gate: Gate,
        *,
        max_request_bytes: int,
        max_images: int,
        call_images: int,
        body_timeout_s: float,
        request_timeout_s: float,
        retry_after_s: int,
        purpose: str = "",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._captions = captions
        self._meter = meter
        self._decoder = decoder
        self._fetcher = fetcher
        self._max_request_bytes = max_request_bytes
        self._max_images = max_images
        self._gate = gate
        self._call_images = call_images
        self._body_timeout_s = body_timeout_s
        self._request_timeout_s = request_timeout_s
        self._retry_after_s = retry_after_s
        self._purpose = purpose
        self._clock = clock

    async def post(self, request: Request) -> Response:
        """`POST /v1/captions`."""
        started = self._clock()
        response = await self._answered(request)
        self._meter.request(response.status_code, self._clock() - started)
        return response

    async def _answered(self, request: Request) -> Response:
        self._meter.held(+1)
        try:
            async with asyncio.timeout(self._request_timeout_s):
                with self._gate.hold(requests=1, bytes=int(min(declared_bytes(request), self._max_request_bytes))):
                    return await self._captioned(request)
        except TimeoutError:
            reason = f"no answer within {self._request_timeout_s:g} s: send fewer images or retry later"
            return refused(RequestRefused("timeout", 504, "request", reason, self._retry_after_s))
        except RequestRefused as refusal:
            return refused(refusal)
        finally:
            self._meter.held(-1)

    async def _captioned(self, request: Request) -> Response:
        body = await read_entries(request, self._max_request_bytes, self._max_images, self._body_timeout_s)
        with self._gate.hold(images=len(body.entries)):
            pictures = await self._pictures(body.entries)
            answers = await self._call([picture.pixels for picture in pictures if isinstance(picture, _Picture)])
        results = iter([result for answer in answers for result in answer.results])
        outcomes = [
            _outcome(entry, picture, next(results)) if isinstance(picture, _Picture) else picture
            for entry, picture in zip(body.entries, pictures, strict=True)
        ]
        for outcome in outcomes:
            self._meter.image(outcome.code if isinstance(outcome, Refusal) else "ok")
        return _response(body.entries, outcomes, _made(answers, self._purpose), body.single)

    async def _pictures(self, entries: Sequence[Entry]) -> list[_Picture | ImageRefused]:
        budget, fetches = ByteBudget(self._max_request_bytes), asyncio.Semaphore(_FETCHES)
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._picture(entry, budget, fetches)) for entry in entries]
        return [task.result() for task in tasks]

    async def _picture(self, entry: Entry, budget: ByteBudget, fetches: asyncio.Semaphore) -> _Picture | ImageRefused:
        try:
            source: bytes | Base64
            if isinstance(entry.source, Url):
                async with fetches:
                    source = await self._fetcher.fetch(entry.source.address, entry.field, budget)
            else:
                source = entry.source
            started = self._clock()
            admitted = await self._decoder.decode(source, entry.field)
            self._meter.decoded(self._clock() - started)
            self._meter.noted(admitted.notes)
            return _Picture(np.asarray(admitted.image), admitted.notes)
        except ImageRefused as refusal:
            return refusal

    async def _call(self, images: list[Pixels]) -> list[Answer]:
        calls = [images[at : at + self._call_images] for at in range(0, len(images), self._call_images)]
        answers = list(await asyncio.gather(*(self._captions.caption(call) for call in calls)))
        for answer in answers:
            for batch in answer.batches:
                self._meter.batch(batch.images, batch.seconds)
        return answers

    async def health(self, request: Request) -> Response:
        """`GET /health`: 200 when at least one model replica runs."""
        replicas = await self._captions.replicas()
        if replicas > 0:
            return JSONResponse({"status": "ok", "replicas": replicas})
        reason = "no model replica runs: it is starting, or it failed (see the log)"
        return refused(RequestRefused("captioner_unavailable", 503, "service", reason, self._retry_after_s))

    async def metrics(self, request: Request) -> Response:
        """`GET /metrics`: Prometheus text."""
        return Response(self._meter.text(), headers={"Content-Type": CONTENT_TYPE})


def asgi(service: CaptionService) -> Starlette:
    """The ASGI application of `service`."""
    return Starlette(
        routes=[
            Route("/v1/captions", service.post, methods=["POST"]),
            Route("/health", service.health, methods=["GET"]),
            Route("/metrics", service.metrics, methods=["GET"]),
        ],
        exception_handlers={HTTPException: _http_error, Exception: _fault},
    )


def refused(refusal: Refusal) -> JSONResponse:
    """The HTTP answer of a refusal of the whole request."""
    return JSONResponse({"error": refusal.payload()}, refusal.status, headers=_retry(refusal))


def _retry(refusal: Refusal) -> dict[str, str]:
    return {} if refusal.retry_after is None else {"Retry-After": str(refusal.retry_after)}


@dataclass(frozen=True, slots=True)
class _Success:
    text: str
    finish: str
    notes: tuple[str, ...]


_Outcome = _Success | Refusal


def _outcome(entry: Entry, picture: _Picture, result: Captioned) -> _Outcome:
    if result.failure is None:
        return _Success(result.text, result.finish, picture.notes)
    return Refusal("captioner_failed", 500, entry.field, f"{result.failure}; retrying may help")


def _made(answers: Sequence[Answer], purpose: str) -> dict[str, str]:
    """What wrote the captions, and what it can read."""
    if not answers:
        return {}
    made = {"captioner": answers[0].captioner, "prompt": answers[0].prompt}
    return made | ({"purpose": purpose} if purpose else {})


def _response(
    entries: Sequence[Entry], outcomes: Sequence[_Outcome], made: dict[str, str], single: bool
) -> JSONResponse:
    failures = [outcome for outcome in outcomes if isinstance(outcome, Refusal)]
    if single and failures:
        return refused(failures[0])
    content: dict[str, object] = {
        "captions": [_entry(entry.id, outcome) for entry, outcome in zip(entries, outcomes, strict=True)]
    }
    content |= made
    if len(failures) < len(outcomes):
        return JSONResponse(content)
    return JSONResponse({"error": failures[0].payload(), **content}, failures[0].status)


def _entry(name: str, outcome: _Outcome) -> dict[str, object]:
    if isinstance(outcome, Refusal):
        return {"id": name, "error": outcome.payload()}
    entry: dict[str, object] = {"id": name, "caption": outcome.text, "finish": outcome.finish}
    return entry | ({"notes": list(outcome.notes)} if outcome.notes else {})


async def _http_error(request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    code = {404: "not_found", 405: "method_not_allowed"}.get(status, "http_error")
    here = "this service has POST /v1/captions, GET /health and GET /metrics"
    reason = f"{request.method} {request.url.path[:200]}: {here}"
    headers = error.headers if isinstance(error, HTTPException) else None
    return JSONResponse({"error": {"code": code, "field": "path", "message": reason}}, status, headers=headers)


async def _fault(request: Request, error: Exception) -> Response:
    logger.error("%s %s failed", request.method, request.url.path, exc_info=error)
    return refused(RequestRefused("internal_error", 500, "request", "a fault of the service; its log has the details"))
