"""Pictures as bytes, a few at a time: files, objects that fsspec opens, and http(s) addresses."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import fsspec

from serving.captioner.base64_text import Base64, is_data_url
from serving.captioner.fetch import ByteBudget, Fetcher, Resolve, resolve
from serving.captioner.hosts import PORTS, netloc, url_host
from serving.captioner.refusal import ImageRefused

LIMIT = 32 << 20
"""Bytes of a picture at most: what is longer is not a picture, and would take the pod's memory."""
_AT_ONCE = 8
_WEB = tuple(f"{scheme}://" for scheme in PORTS)


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture's bytes and their sha256; or, where it cannot be read, why."""

    data: bytes
    sha256: str
    failure: str | None = None


@dataclass(frozen=True)
class PictureReader:
    """Reads pictures; a table of items must not become a door into the network that reads it.

    Attributes:
        private_hosts: entries of `serving.captioner.hosts.listed_hosts`, whose address need not be public.
        seconds: for one http(s) picture, redirects included.
    """

    private_hosts: frozenset[str] = frozenset()
    seconds: float = 10.0
    resolve: Resolve = resolve

    async def read_many(self, places: Mapping[str, str]) -> dict[str, Picture]:
        """Read the pictures at paths, URIs or addresses, by item id; what cannot be read is told in its place."""
        gate = asyncio.Semaphore(_AT_ONCE)

        async def one(place: str) -> Picture:
            async with gate:
                return await self.read(place)

        return dict(zip(places, await asyncio.gather(*map(one, places.values())), strict=True))

    async def read(self, place: str) -> Picture:
        """Read one picture."""
        if is_data_url(place):
            return await asyncio.to_thread(_written, place)
        if not place.lower().startswith(_WEB):
            return await asyncio.to_thread(_read_file, place)
        try:
            fetcher = self._private if self._private.lists(place) else self._public
            data = await fetcher.fetch(place, "image", ByteBudget(LIMIT))
        except ImageRefused as refused:
            return Picture(b"", "", f"{place} cannot be fetched: {self._why(refused, place)}")
        return _picture(place, data)

    @cached_property
    def _private(self) -> Fetcher:
        return Fetcher(self.private_hosts, True, LIMIT, self.seconds, self.resolve)

    @cached_property
    def _public(self) -> Fetcher:
        return Fetcher(None, False, LIMIT, self.seconds, self.resolve)

    def _why(self, refused: ImageRefused, place: str) -> str:
        """The fetcher speaks to a client of the captioning service; here somebody owns the table."""
        if refused.code == "url_timeout":
            return f"nothing whole came within {self.seconds:g} s; it is tried again by the next run"
        if refused.code == "url_host_refused" and not self._private.lists(place):
            scheme, host, port = url_host(place)
            name = netloc(host, port, scheme)
            return f"its host has an address that is not public; if it is yours, add --picture-host {name}"
        if refused.code == "image_too_large":
            return f"it has more than {LIMIT} bytes"
        return refused.message


def _read_file(place: str) -> Picture:
    try:
        with Path(place).open("rb") if "://" not in place else fsspec.open(place, "rb") as file:
            data: bytes = file.read(LIMIT + 1)
    except FileNotFoundError:
        return Picture(b"", "", f"{place} is not there")
    except Exception as error:  # noqa: BLE001 (every driver has errors of its own; each is this picture's)
        return Picture(b"", "", f"{place} cannot be read ({type(error).__name__}: {error})")
    return _picture(place, data)


def _written(data_url: str) -> Picture:
    try:
        return _picture(data_url[:40], Base64(data_url).decode("image"))
    except ImageRefused as refused:
        return Picture(b"", "", refused.message)


def _picture(place: str, data: bytes) -> Picture:
    if len(data) > LIMIT:
        return Picture(b"", "", f"{place} has more than {LIMIT} bytes")
    if not data:
        return Picture(b"", "", f"{place} is empty")
    return Picture(data, hashlib.sha256(data).hexdigest())
