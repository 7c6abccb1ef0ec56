"""From an HTTP request to a list of images, not yet decoded, or a typed refusal of the whole request."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from tempfile import SpooledTemporaryFile

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect, Request

from serving.captioner.base64_text import Base64, is_data_url
from serving.captioner.refusal import RequestRefused

_MAX_ID = 512
_MAX_URL = 8192
_JSON_FORM = (
    '{"images": [{"id": "optional", "data": "<base64 or data URL>"} or '
    '{"id": "optional", "url": "http(s) or data URL"}]}'
)
_TYPES = "image/*, multipart/form-data or application/json"


@dataclass(frozen=True, slots=True)
class Url:
    """An image to be fetched."""

    address: str


@dataclass(frozen=True, slots=True)
class Entry:
    """One image of a request: its id (the caller's, or its position), its place in the request, its bytes."""

    id: str
    field: str
    source: bytes | Base64 | Url


@dataclass(frozen=True, slots=True)
class Body:
    """What a request asks for; `single` when the body itself is the image."""

    entries: tuple[Entry, ...]
    single: bool


class _JsonImage(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    id: str | None = Field(None, max_length=_MAX_ID)
    data: str | None = None
    url: str | None = None

    @model_validator(mode="after")
    def _one_source(self) -> _JsonImage:
        if (self.data is None) == (self.url is None):
            raise ValueError("an image has exactly one of `data` (base64) and `url`")
        if self.url is not None and len(self.url) > _MAX_URL and not is_data_url(self.url):
            raise ValueError(f"a URL has at most {_MAX_URL} characters, this one has {len(self.url)}")
        return self


class _JsonBody(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    images: list[_JsonImage]


async def read_entries(request: Request, max_bytes: int, max_images: int, timeout_s: float) -> Body:
    """Read the request's body, of at most `max_bytes` bytes within `timeout_s` seconds, and list its images.

    Raises:
        RequestRefused: 400 for a malformed body or one without images, 408 for one that does not arrive,
            413 for one with too many bytes or images, 415 for a Content-Type that is not image/*,
            multipart/form-data or application/json.
    """
    kind = request.headers.get("content-type", "").split(";")[0].strip().lower()
    if not (kind.startswith("image/") or kind in ("multipart/form-data", "application/json")):
        raise RequestRefused(
            "unsupported_content_type", 415, "Content-Type", f"the Content-Type is {kind!r}: send {_TYPES}"
        )
    data = await _read(request, max_bytes, timeout_s)
    if not data:
        raise RequestRefused("empty_body", 400, "body", "the request has no body: send an image")
    if kind.startswith("image/"):
        return Body((Entry("0", "body", data),), single=True)
    if kind == "application/json":
        entries = await asyncio.to_thread(_from_json, data)
    else:
        entries = await _from_multipart(request, data)
    _check_count(len(entries), max_images)
    return Body(tuple(entries), single=False)


def _check_count(count: int, max_images: int) -> None:
    if count == 0:
        raise RequestRefused("no_images", 400, "images", "the request has no images: send at least one")
    if count > max_images:
        raise RequestRefused(
            "too_many_images",
            413,
            "images",
            f"the request has {count} images and at most {max_images} are taken: split it",
        )


def declared_bytes(request: Request) -> float:
    """The body's Content-Length; infinite when it is not declared (a chunked body)."""
    declared = request.headers.get("content-length", "")
    return int(declared) if declared.isascii() and declared.isdigit() else math.inf


async def _read(request: Request, max_bytes: int, timeout_s: float) -> bytes:
    declared = declared_bytes(request)
    if max_bytes < declared < math.inf:
        raise _too_large(max_bytes)
    body = bytearray()
    try:
        async with asyncio.timeout(timeout_s):
            async for chunk in request.stream():
                body += chunk
                if len(body) > max_bytes:
                    raise _too_large(max_bytes)
    except TimeoutError as error:
        raise RequestRefused(
            "body_timeout",
            408,
            "body",
            f"{len(body)} bytes came in {timeout_s:g} s and the body is not complete",
        ) from error
    except ClientDisconnect as error:
        raise RequestRefused("client_disconnected", 400, "body", "the client closed the connection") from error
    return bytes(body)


def _too_large(max_bytes: int) -> RequestRefused:
    return RequestRefused(
        "request_too_large", 413, "body", f"the body has more than {max_bytes} bytes: split the request"
    )


def _from_json(data: bytes) -> list[Entry]:
    try:
        body = _JsonBody.model_validate_json(data)
    except ValidationError as error:
        fault = error.errors(include_input=False, include_url=False)[0]
        place = _place(fault["loc"])
        raise RequestRefused(
            "malformed_request",
            400,
            place or "body",
            f"{fault['msg']}; expected {_JSON_FORM}",
        ) from error
    return [
        Entry(
            str(number) if image.id is None else image.id,
            f"images[{number}].{'url' if image.data is None else 'data'}",
            Base64(image.data) if image.data is not None else _at(image.url or ""),
        )
        for number, image in enumerate(body.images)
    ]


def _at(address: str) -> Base64 | Url:
    return Base64(address) if is_data_url(address) else Url(address)


def _place(location: tuple[int | str, ...]) -> str:
    place = ""
    for step in location:
        place += f"[{step}]" if isinstance(step, int) else f".{step}"
    return place.lstrip(".")


async def _from_multipart(request: Request, data: bytes) -> list[Entry]:
    parser = MultiPartParser(
        request.headers, _chunks(data), max_files=10_000, max_fields=10_000, max_part_size=len(data)
    )
    parser.spool_max_size = len(data) + 1  # the body is in memory already: no temporary files
    try:
        form = await parser.parse()
    except (MultiPartException, KeyError, ValueError) as error:
        message = getattr(error, "message", None) or str(error)
        raise RequestRefused(
            "malformed_request",
            400,
            "body",
            f"the multipart body cannot be read ({message}): send files named `image`",
        ) from error
    try:
        return [_file(number, name, part) for number, (name, part) in enumerate(form.multi_items())]
    finally:
        await form.close()


def _file(number: int, name: str, part: UploadFile | str) -> Entry:
    if name != "image":
        wanted = "every part must be named `image`: a file (curl: -F image=@photo.jpg), base64, or a URL"
        raise RequestRefused("malformed_request", 400, name[:100], wanted)
    if isinstance(part, str):
        return Entry(str(number), f"image[{number}]", _written(part))
    return Entry((part.filename or str(number))[:_MAX_ID], f"image[{number}]", _content(part))


def _written(text: str) -> Base64 | Url:
    """A text field: an address, or the image itself in base64 or as a data URL."""
    if not text.strip().lower().startswith(("http://", "https://")):
        return Base64(text)
    if len(text) > _MAX_URL:
        raise RequestRefused("malformed_request", 400, "image", f"a URL has at most {_MAX_URL} characters")
    return Url(text.strip())


def _content(part: UploadFile) -> bytes:
    file: SpooledTemporaryFile[bytes] = part.file  # type: ignore[assignment]
    file.seek(0)
    return file.read()


async def _chunks(data: bytes) -> AsyncGenerator[bytes, None]:
    size = 1 << 20
    for start in range(0, len(data), size):
        yield data[start : start + size]
    yield b""
