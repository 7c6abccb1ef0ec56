"""A request's body, bounded in bytes and time."""

from __future__ import annotations

import asyncio
from collections.abc import Collection

from starlette.requests import ClientDisconnect, Request

from serving.rollout.collector.faults import RequestError

BODY_SECONDS = 30.0


async def read_body(request: Request, kinds: Collection[str], limit: int, seconds: float = BODY_SECONDS) -> bytes:
    """The body, of one of these content types, of at most `limit` bytes, within `seconds`. Raises RequestError."""
    kind = request.headers.get("content-type", "").split(";")[0].strip().lower()
    if kind not in kinds:
        raise RequestError(415, "Content-Type", f"is {kind[:100]!r}; expected {' or '.join(kinds)}")
    declared = request.headers.get("content-length", "")
    if declared.isascii() and declared.isdigit() and int(declared) > limit:
        raise _too_large(limit)
    body = bytearray()
    try:
        async with asyncio.timeout(seconds):
            async for chunk in request.stream():
                body += chunk
                if len(body) > limit:
                    raise _too_large(limit)
    except TimeoutError as cause:
        message = f"only {len(body)} bytes came in {seconds:g} s; send it at once"
        raise RequestError(408, "body", message) from cause
    except ClientDisconnect as cause:
        raise RequestError(400, "body", "the connection was closed before its end") from cause
    return bytes(body)


def _too_large(limit: int) -> RequestError:
    return RequestError(413, "body", f"has more than {limit} bytes; split the batch")
