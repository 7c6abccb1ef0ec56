"""The still picture in a PNG file: its chunks without texts, animation and whatever follows its end.

PNG specification, third edition, section 5. Texts are never unpacked: they are of no use here, however long.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass

SIGNATURE = b"\x89PNG\r\n\x1a\n"
MAX_PROFILE_BYTES = 8 << 20
_MAX_CHUNKS = 100_000


@dataclass(frozen=True, slots=True)
class Png:
    """The still picture alone.

    Attributes:
        data: the chunks that a picture is made of, always with an end.
        profile: the ICC profile, unpacked; None where there is none, b"" where it is damaged or unpacks to more than
            `MAX_PROFILE_BYTES`.
        animated: whether more than one frame is declared.
    """

    data: bytes
    profile: bytes | None
    animated: bool


def still(data: bytes) -> Png:
    """The still picture of `data`, which begins like a PNG.

    A last chunk of pixels that is cut off is closed: whether rows are missing is for the decoder to say.

    Raises:
        ValueError: more chunks than a picture has.
    """
    view, kept = memoryview(data), [memoryview(SIGNATURE)]
    profile, animated, at = None, False, len(SIGNATURE)
    for _ in range(_MAX_CHUNKS):
        length, kind = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8]
        end = at + 12 + length
        if len(kind) < 4 or kind == b"IEND":
            break
        body = view[at + 8 : at + 8 + length]
        if kind == b"iCCP":
            profile = _profile(bytes(body))
        elif kind == b"acTL":
            animated = int.from_bytes(body[:4], "big") > 1
        elif end > len(data):
            kept += _closed(kind, body)
        elif _needed(kind, body, view[end - 4 : end]):
            kept.append(view[at:end])
        if end > len(data):
            break
        at = end
    else:
        raise ValueError(f"more than {_MAX_CHUNKS} chunks")
    whole = b"".join([*kept, *_closed(b"IEND", memoryview(b""))])
    return Png(data if whole == data else whole, profile, animated)


def _needed(kind: bytes, body: memoryview, checksum: memoryview) -> bool:
    """Whether a chunk shows in the picture: a critical one (a capital first), transparency, or whole EXIF."""
    if kind == b"eXIf":
        return zlib.crc32(body, zlib.crc32(kind)).to_bytes(4, "big") == checksum
    return kind == b"tRNS" or kind[:1].isupper()


def _closed(kind: bytes, body: memoryview) -> list[memoryview]:
    checksum = zlib.crc32(body, zlib.crc32(kind)).to_bytes(4, "big")
    return [memoryview(len(body).to_bytes(4, "big") + kind), body, memoryview(checksum)]


def _profile(body: bytes) -> bytes:
    packed = body[body.find(b"\0") + 2 :]
    unpacking = zlib.decompressobj()
    try:
        profile = unpacking.decompress(packed, MAX_PROFILE_BYTES + 1)
    except zlib.error:
        return b""
    return profile if unpacking.eof and len(profile) <= MAX_PROFILE_BYTES else b""
