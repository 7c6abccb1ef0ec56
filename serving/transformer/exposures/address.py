"""Addresses of exposures: file:///folder, redis://host:port/number?stream=name, http://collector:8090/v1/exposures."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from models.items import ItemStoreError
from serving.items.redis_link import RedisAddress
from serving.transformer.exposures.sink import ExposureError

WHAT = "exposures"
FILE_SECONDS, FILE_BYTES = 300, 64 << 20
STREAM_ENTRIES = 1_000_000
_FORM = (
    "expected file:///folder, redis://host:port/number?stream=name (rediss:// with TLS) "
    "or http://host:port/v1/exposures (https:// with TLS)"
)


@dataclass(frozen=True, slots=True)
class FolderAddress:
    """JSON lines in a folder: a file ends after so many seconds or bytes, and the next one begins."""

    folder: Path
    seconds: int = FILE_SECONDS
    bytes: int = FILE_BYTES


@dataclass(frozen=True, slots=True)
class StreamAddress:
    """A Redis Stream, of which the server keeps about `maxlen` entries."""

    redis: RedisAddress
    stream: str
    maxlen: int = STREAM_ENTRIES


@dataclass(frozen=True, slots=True)
class CollectorAddress:
    """The collector's route for exposures."""

    url: str


Address = FolderAddress | StreamAddress | CollectorAddress


def parse(uri: str) -> Address:
    """Read an address, without looking whether anything is there. Raises ExposureError."""
    try:
        parts = urlsplit(uri)
        port = parts.port
        query = dict(parse_qsl(parts.query, strict_parsing=bool(parts.query)))
    except ValueError as cause:
        raise ExposureError(f"exposures {uri}: {cause}; {_FORM}") from cause
    if parts.username is not None or parts.password is not None:
        raise ExposureError(
            f"exposures {parts.scheme}://…@{parts.hostname}: user and password do not belong into the address, "
            "which is logged; set SIGHTLINE_STORE_PASSWORD for Redis, SIGHTLINE_COLLECTOR_TOKEN for a collector"
        )
    match parts.scheme:
        case "file":
            return _folder(uri, parts, query)
        case "redis" | "rediss":
            return _stream(uri, parts, query)
        case "http" | "https" if parts.hostname and port != 0 and not parts.fragment:
            return CollectorAddress(uri)
    raise ExposureError(f"exposures {uri}: cannot be read as an address; {_FORM}")


def _folder(uri: str, parts: SplitResult, query: dict[str, str]) -> FolderAddress:
    if parts.netloc not in ("", "localhost") or not parts.path.strip("/") or parts.fragment:
        raise ExposureError(f"exposures {uri}: names no folder of this machine; expected file:///folder")
    _refuse_unknown(uri, query, {"seconds", "bytes"})
    return FolderAddress(
        Path(unquote(parts.path)),
        seconds=_number(uri, query, "seconds", FILE_SECONDS, 1),
        bytes=_number(uri, query, "bytes", FILE_BYTES, 1024),
    )


def _stream(uri: str, parts: SplitResult, query: dict[str, str]) -> StreamAddress:
    _refuse_unknown(uri, query, {"stream", "maxlen"})
    if not query.get("stream"):
        raise ExposureError(f"exposures {uri}: names no stream; add ?stream=name")
    try:
        redis = RedisAddress.parse(parts._replace(query="").geturl(), WHAT)
    except ItemStoreError as cause:
        raise ExposureError(f"{WHAT} {uri}: cannot be read as an address; {_FORM}") from cause
    return StreamAddress(redis, query["stream"], _number(uri, query, "maxlen", STREAM_ENTRIES, 1))


def _refuse_unknown(uri: str, query: dict[str, str], known: set[str]) -> None:
    unknown = sorted(set(query) - known)
    if unknown:
        raise ExposureError(f"exposures {uri}: {unknown} is unknown; expected {sorted(known)} after the ?")


def _number(uri: str, query: dict[str, str], name: str, default: int, least: int) -> int:
    text = query.get(name, str(default))
    if not (text.isascii() and text.isdigit()) or int(text) < least:
        raise ExposureError(f"exposures {uri}: {name} is {text!r}; expected a whole number of at least {least}")
    return int(text)
