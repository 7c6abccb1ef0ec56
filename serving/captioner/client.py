"""A client of the captioning service for many images: groups them, keeps order, returns failures."""

from __future__ import annotations

import asyncio
import base64
import json
import random
import ssl
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import httpx

from serving.tls import CA_FILE, advice

Progress = Callable[[int, int], None]
Sleep = Callable[[float], Awaitable[None]]


class CaptionerUnreachableError(RuntimeError):
    """The service did not answer within the bound of retries, or is not a captioning service."""


@dataclass(frozen=True, slots=True)
class CaptionError:
    """Why one image has no caption: the service's code and message."""

    code: str
    message: str


@dataclass(frozen=True, slots=True)
class CaptionResult:
    """One image's result: `text`, or `error`. `captioner` and `prompt` say what wrote the text, `purpose` what that can
    read, where it is known.
    """

    id: str
    text: str | None
    finish: str | None
    captioner: str
    prompt: str
    error: CaptionError | None = None
    notes: tuple[str, ...] = ()
    purpose: str = ""


@dataclass(frozen=True, slots=True)
class CaptionClient:
    """Captions images through the service at `url`.

    Attributes:
        url: the service's address, such as `http://127.0.0.1:8001`.
        images_per_request: a request's overhead (some milliseconds) is shared by so many images at most.
        bytes_per_request: encoded bytes of one request's images at most; a single larger image goes alone.
        concurrency: requests in flight; two keep the model busy while the next request is decoded.
        timeout_s: seconds that one request may take.
        patience_s: seconds that one request is retried while the service answers 503 or cannot be reached.
        sleep: how to wait between attempts.
        transport: httpx transport, for tests.
        verify: the authorities that https:// believes (`serving.tls.believed`); the system's, if True.
    """

    url: str
    images_per_request: int = 32
    bytes_per_request: int = 16 * 1024 * 1024
    concurrency: int = 3
    timeout_s: float = 180.0
    patience_s: float = 60.0
    sleep: Sleep = asyncio.sleep
    transport: httpx.AsyncBaseTransport | None = None
    verify: ssl.SSLContext | bool = True

    def caption(self, images: Sequence[tuple[str, bytes]], progress: Progress | None = None) -> list[CaptionResult]:
        """Caption `(id, encoded bytes)` pairs; results are in the order of `images`.

        Args:
            images: ids are echoed; they need not be unique.
            progress: called with (images done, images in all) after every request.

        Raises:
            CaptionerUnreachableError: no answer from the service within `patience_s`.
        """
        return asyncio.run(self.caption_async(images, progress))

    async def caption_async(
        self, images: Sequence[tuple[str, bytes]], progress: Progress | None = None
    ) -> list[CaptionResult]:
        """`caption` for callers that already have an event loop."""
        groups = list(self._groups(images))
        gate = asyncio.Semaphore(self.concurrency)
        done = 0
        timeout = httpx.Timeout(self.timeout_s, connect=5.0)
        async with httpx.AsyncClient(
            base_url=self.url, timeout=timeout, trust_env=False, transport=self.transport, verify=self.verify
        ) as http:

            async def one(group: Sequence[tuple[str, bytes]]) -> list[CaptionResult]:
                nonlocal done
                async with gate:
                    results = await self._send(http, group)
                done += len(group)
                if progress is not None:
                    progress(done, len(images))
                return results

            tasks = [asyncio.ensure_future(one(group)) for group in groups]
            try:
                parts = await asyncio.gather(*tasks)
            finally:
                for task in tasks:
                    task.cancel()
        return [result for part in parts for result in part]

    def _groups(self, images: Sequence[tuple[str, bytes]]) -> list[list[tuple[str, bytes]]]:
        groups: list[list[tuple[str, bytes]]] = []
        size = 0
        for image in images:
            full = not groups or len(groups[-1]) >= self.images_per_request
            if full or size + len(image[1]) > self.bytes_per_request:
                groups.append([])
                size = 0
            groups[-1].append(image)
            size += len(image[1])
        return groups

    async def _send(self, http: httpx.AsyncClient, group: Sequence[tuple[str, bytes]]) -> list[CaptionResult]:
        body = await asyncio.to_thread(_encode, group)
        waited, pause = 0.0, 0.25
        while True:
            response, reason = await self._attempt(http, body)
            if response is not None and response.status_code != 503:
                return _results(group, response, self.url)
            if waited >= self.patience_s:
                raise CaptionerUnreachableError(
                    f"the captioner at {self.url} took none of {len(group)} images in {self.patience_s:g} s "
                    f"({reason}): {advice(reason, CA_FILE) or 'is it running, and not too busy?'}"
                )
            after = _retry_after(response)
            # Spread over a quarter more, so that clients refused together do not come back together.
            wait = (pause if after is None else after) * (1 + random.random() / 4)
            await self.sleep(wait)
            waited, pause = waited + wait, min(2 * pause, 5.0)

    async def _attempt(self, http: httpx.AsyncClient, body: bytes) -> tuple[httpx.Response | None, str]:
        try:
            response = await http.post("/v1/captions", content=body, headers={"Content-Type": "application/json"})
        except httpx.TransportError as error:
            return None, f"{type(error).__name__}: {error}"
        return response, f"HTTP {response.status_code}"


def _encode(group: Sequence[tuple[str, bytes]]) -> bytes:
    images = [{"id": name, "data": base64.b64encode(data).decode("ascii")} for name, data in group]
    return json.dumps({"images": images}).encode()


def _retry_after(response: httpx.Response | None) -> float | None:
    text = "" if response is None else response.headers.get("retry-after", "")
    return float(text) if text.isascii() and text.isdigit() else None


def _results(group: Sequence[tuple[str, bytes]], response: httpx.Response, url: str) -> list[CaptionResult]:
    try:
        content = response.json()
        entries = content.get("captions") or [{"error": content["error"]}] * len(group)
        made = (content.get("captioner", ""), content.get("prompt", ""), content.get("purpose", ""))
        results = [_result(name, entry, *made) for (name, _), entry in zip(group, entries, strict=True)]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CaptionerUnreachableError(
            f"{url} answered HTTP {response.status_code} and not as the captioning service does: check the address"
        ) from error
    return results


def _result(name: str, entry: dict[str, object], captioner: str, prompt: str, purpose: str) -> CaptionResult:
    error = entry.get("error")
    if isinstance(error, dict):
        refused = CaptionError(str(error["code"]), str(error["message"]))
        return CaptionResult(name, None, None, captioner, prompt, refused, purpose=purpose)
    notes = entry.get("notes")
    return CaptionResult(
        name,
        str(entry["caption"]),
        str(entry["finish"]),
        captioner,
        prompt,
        notes=tuple(map(str, notes)) if isinstance(notes, list) else (),
        purpose=purpose,
    )
