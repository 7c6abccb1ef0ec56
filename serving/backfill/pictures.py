"""Pictures as bytes, a few at a time."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

import fsspec

LIMIT = 64 << 20
"""Bytes of a picture at most: what is longer is no picture, and would take the pod's memory."""
_AT_ONCE = 8


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture's bytes and their sha256; or, where it cannot be read, why."""

    data: bytes
    sha256: str
    failure: str | None = None


async def read_pictures(places: Mapping[str, str]) -> dict[str, Picture]:
    """Read the pictures at paths or URIs, by item id; what cannot be read is told in its place."""
    gate = asyncio.Semaphore(_AT_ONCE)

    async def one(place: str) -> Picture:
        async with gate:
            return await asyncio.to_thread(read_picture, place)

    return dict(zip(places, await asyncio.gather(*map(one, places.values())), strict=True))


def read_picture(place: str) -> Picture:
    """Read one picture."""
    try:
        with fsspec.open(place, "rb") as file:
            data: bytes = file.read(LIMIT + 1)
    except Exception as error:  # noqa: BLE001 (every driver has errors of its own; each is this picture's)
        return Picture(b"", "", f"{place} cannot be read ({type(error).__name__}: {error})")
    if len(data) > LIMIT:
        return Picture(b"", "", f"{place} has more than {LIMIT} bytes")
    return Picture(data, hashlib.sha256(data).hexdigest())
