"""The hot REST routes as a small ASGI application in front of KServe's own, which answers everything else."""

import asyncio
import math
import re
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any, Final

import orjson

from serving.transformer.errors import (
    BodyTimeoutError,
    BodyTooLargeError,
    NotSupportedError,
    ServiceError,
    UnsupportedMediaError,
)
from serving.transformer.held_bytes import HeldBytes, Share
from serving.transformer.naming import NOBODY, ArmNaming
from serving.transformer.service import Service
from serving.transformer.v2_json import LENGTH_HEADER

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
Headers = Mapping[str, str]
Reply = tuple[bytes, Headers]

_VERB: Final = re.compile(r"/v1/models/([^/]+):(predict|explain)")
_READY_V1: Final = re.compile(r"/v1/models/([^/:]+)")
_MODEL: Final = re.compile(r"/v2/models/([^/]+)(?:/versions/([^/]+))?(/infer|/ready)?")
BODY_SECONDS: Final = 10.0
_JSON: Final = {"content-type": "application/json"}


class Disconnected(Exception):  # noqa: N818 - not an error of anybody: the client went away
    """The client left while it was sending."""


class RestFront:
    """Routes predict, infer and readiness to the service, and all else to `rest` (KServe's application).

    `naming` says which calls may name the arm that answers.
    """

    def __init__(
        self, service: Service, rest: App, max_body_bytes: int, held: HeldBytes, naming: ArmNaming = NOBODY
    ) -> None:
        self._service, self._rest, self._max_body_bytes, self._held = service, rest, max_body_bytes, held
        self._naming = naming

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The ASGI entry."""
        if scope["type"] != "http":
            await self._rest(scope, receive, send)
            return
        try:
            reply = await self._reply(scope, receive)
        except ServiceError as error:
            await _send(send, error.http_status, orjson.dumps(error.body()), {**_JSON, **_retry(error)})
        except Disconnected:
            return
        else:
            if reply is None:
                await self._rest(scope, receive, send)
            else:
                await _send(send, 200, *reply)

    async def _reply(self, scope: Scope, receive: Receive) -> Reply | None:
        """The answer; None where KServe's application answers."""
        path: str = scope["path"]
        if scope["method"] == "POST":
            with self._held.share() as share:
                return await self._post(path, scope, receive, share)
        if scope["method"] == "GET":
            return self._get(path)
        return None

    async def _post(self, path: str, scope: Scope, receive: Receive, share: Share) -> Reply | None:
        if found := _VERB.fullmatch(path):
            name, verb = found.groups()
            if verb == "explain":
                raise NotSupportedError("explanations are not offered here; use :predict")
            headers = _headers(scope)
            arm = self._naming.arm(headers.get)
            body = await self._body(headers, receive, share)
            return await self._service.v1(name, body, arm), _JSON
        if (found := _MODEL.fullmatch(path)) and found[3] == "/infer":
            self._service.check_name(found[1], found[2] or "")
            headers = _headers(scope)
            arm = self._naming.arm(headers.get)
            body = await self._body(headers, receive, share)
            json_length = headers.get(LENGTH_HEADER)
            answer, length = await self._service.v2_rest(found[1], body, json_length, arm)
            return answer, _JSON if length is None else _binary(length)
        if path.startswith("/v2/repository/"):
            raise NotSupportedError("models are fixed at start (--model_name, --also); restart to change them")
        return None

    def _get(self, path: str) -> Reply | None:
        if path == "/v2/health/ready":
            self._service.require_ready()
            return b'{"ready":true}', _JSON
        if found := _READY_V1.fullmatch(path):
            self._service.require_ready(found[1])
            return orjson.dumps({"name": found[1], "ready": True}), _JSON
        if found := _MODEL.fullmatch(path):
            self._service.check_name(found[1], found[2] or "")
            if found[3] == "/ready":
                self._service.require_ready(found[1])
                return orjson.dumps({"name": found[1], "ready": True}), _JSON
        return None

    async def _body(self, headers: Headers, receive: Receive, share: Share) -> bytes:
        """The whole body, held in `share`. Raises for one that is compressed or over a limit, before it is read to its
        end.
        """
        coding = headers.get("content-encoding", "identity")
        if coding != "identity":
            raise UnsupportedMediaError(f"header Content-Encoding is {coding!r}; expected none; send the body as it is")
        declared = headers.get("content-length", "")
        if declared.isdigit() and int(declared) > self._max_body_bytes:
            raise self._too_large(f"{declared} bytes")
        try:
            async with asyncio.timeout(BODY_SECONDS):
                return await self._received(receive, share)
        except TimeoutError as error:
            raise BodyTimeoutError(f"the body did not come within {BODY_SECONDS:g} s; send it at once") from error

    async def _received(self, receive: Receive, share: Share) -> bytes:
        chunks, size, more = [], 0, True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise Disconnected
            chunk = message.get("body", b"")
            size += len(chunk)
            if size > self._max_body_bytes:
                raise self._too_large(f"over {self._max_body_bytes} bytes")
            share.grow(size)
            chunks.append(chunk)
            more = message.get("more_body", False)
        return b"".join(chunks) if len(chunks) > 1 else chunks[0]

    def _too_large(self, found: str) -> BodyTooLargeError:
        limit = f"at most {self._max_body_bytes} bytes (--max_body_bytes)"
        return BodyTooLargeError(f"the body has {found}; expected {limit}; rank fewer candidates per call")


def _headers(scope: Scope) -> dict[str, str]:
    return {key.decode("latin-1"): value.decode("latin-1") for key, value in scope["headers"]}


def _binary(length: int) -> Headers:
    return {"content-type": "application/octet-stream", LENGTH_HEADER: str(length)}


def _retry(error: ServiceError) -> Headers:
    return {} if error.retry_after is None else {"retry-after": str(math.ceil(error.retry_after))}


async def _send(send: Send, status: int, body: bytes, headers: Headers) -> None:
    lines = [(key.encode(), value.encode("latin-1")) for key, value in headers.items()]
    lines.append((b"content-length", str(len(body)).encode()))
    await send({"type": "http.response.start", "status": status, "headers": lines})
    await send({"type": "http.response.body", "body": body})
