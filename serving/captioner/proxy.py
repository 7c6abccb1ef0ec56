"""Bounds on what clients send to Ray Serve's proxies, and their errors in this service's form.

Ray has no setting for the server in its proxies. It calls the function that RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH
names in each proxy before the server is made: that is where uvicorn is given our protocol.
"""

from __future__ import annotations

import http
import json
import os

from starlette.middleware import Middleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.config import HTTP_PROTOCOLS

from serving.captioner.settings import read_machine
from serving.http_server import bounded

CALLBACK = {"RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH": "serving.captioner.proxy.bound_proxy"}
"""The environment that every process of Ray needs, from `ray start` on."""


def bound_proxy() -> list[Middleware]:
    """Called by Ray in a proxy's process, which has the environment that `ray start` had."""
    connections = read_machine(os.environ, {}).max_connections
    HTTP_PROTOCOLS["auto"] = bounded(error_json, connections=connections)  # type: ignore[assignment]
    return [Middleware(JsonErrors)]


def error_json(status: int, message: str) -> bytes:
    """The body of an error; `serving.http_server.Refusal`."""
    code = http.HTTPStatus(status).phrase.lower().replace(" ", "_").replace("-", "_")
    return json.dumps({"error": {"code": code, "field": "request", "message": message}}).encode()


class JsonErrors:
    """An ASGI middleware that says the proxy's own errors, which are plain text, as the service says its own."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        plain: Message | None = None

        async def checked(message: Message) -> None:
            nonlocal plain
            if message["type"] == "http.response.start" and _is_plain_error(message):
                plain = message
            elif plain is None:
                await send(message)
            elif message["type"] == "http.response.body" and not message.get("more_body", False):
                await _send_json(plain, send)

        await self._app(scope, receive, checked)


def _is_plain_error(start: Message) -> bool:
    kinds = [value for name, value in start.get("headers", ()) if name.lower() == b"content-type"]
    return start["status"] >= 400 and not any(kind.startswith(b"application/json") for kind in kinds)


async def _send_json(start: Message, send: Send) -> None:
    """The proxy's text is not passed on: it may be a traceback."""
    status = start["status"]
    body = error_json(status, "the captioner's proxy could not have this answered; its log has the details")
    kept = [(name, value) for name, value in start["headers"] if name.lower() in (b"retry-after", b"allow")]
    headers = [*kept, (b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
