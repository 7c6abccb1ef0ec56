"""The still picture in a JPEG file, found by walking its segments.

A phone's file goes on behind the picture: a film (motion photo), a gain map (ultra HDR), further pictures (MPF). All of
it lies behind the first end of image, and none of it is looked at. Thumbnails lie inside segments.
ITU-T T.81, annex B, has the markers.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

END = b"\xff\xd9"
_SOI, _EOI, _SOS, _TEM, _COM = 0xD8, 0xD9, 0xDA, 0x01, 0xFE
_FRAMES = frozenset({0xC0, 0xC1, 0xC2, 0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF})
_PROGRESSIVE = frozenset({0xC2, 0xC6, 0xCA, 0xCE})
# Stuffed zeros and restarts belong to a scan's data; all else ends it. Fill bytes may stand before a marker.
_MARKER = re.compile(rb"\xff+([\x01-\xcf\xd8-\xfe])")
_NEEDED = {0xE0: b"JFIF", 0xE1: b"Exif\0\0", 0xE2: b"ICC_PROFILE\0", 0xEE: b"Adobe"}
_MAX_SEGMENTS = 100_000


@dataclass(frozen=True, slots=True)
class Jpeg:
    """The still picture alone.

    Attributes:
        data: from the start to the end of image, without comments, thumbnails' lists and other programs' segments.
        scans: how often the decoder visits every coefficient.
        coefficient_bytes: what libjpeg holds of a picture that comes in several scans, at full size whatever the size
            asked for; 0 for one that comes row by row.
        ended: whether there was an end of image; without one `data` ends where the file does.
    """

    data: bytes
    scans: int
    coefficient_bytes: int
    ended: bool


def still(data: bytes) -> Jpeg:
    """The first picture of `data`, which begins like a JPEG.

    Raises:
        ValueError: more segments than a picture has.
    """
    return _Walk(data).picture()


class _Walk:
    def __init__(self, data: bytes) -> None:
        self._data, self._view = data, memoryview(data)
        self._kept: list[memoryview] = [self._view[:2]]
        self._scans, self._held, self._layers, self._several = 0, 0, 0, False
        self._ended = self._exif = False

    def picture(self) -> Jpeg:
        at: int | None = 2
        for _ in range(_MAX_SEGMENTS):
            if at is None or (marker := _MARKER.search(self._data, at)) is None:
                break
            at = self._segment(marker.end() - 2, self._data[marker.end() - 1])
        else:
            raise ValueError(f"more than {_MAX_SEGMENTS} segments")
        whole = b"".join(self._kept)
        held = self._held if self._several else 0
        return Jpeg(self._data if whole == self._data else whole, self._scans, held, self._ended)

    def _segment(self, at: int, marker: int) -> int | None:
        """Keep what is needed of the segment at `at`; where the next one may begin, None behind the last."""
        if marker in (_SOI, _TEM):
            self._kept.append(self._view[at : at + 2])
            return at + 2
        if marker == _EOI:
            self._ended = True
            self._kept.append(self._view[at : at + 2])
            return None
        end = at + 2 + int.from_bytes(self._data[at + 2 : at + 4], "big")
        if end < at + 4 or end > len(self._data):  # damaged or cut off: the decoder says so
            self._kept.append(self._view[at:])
            return None
        if marker in _FRAMES:
            self._frame(self._data[at + 4 : end], marker in _PROGRESSIVE)
        if marker == _SOS:
            end = self._scan(self._data[at + 4], end)
        if self._needed(marker, at + 4):
            self._kept.append(self._view[at:end])
        return end

    def _needed(self, marker: int, at: int) -> bool:
        if marker == 0xE1:
            first, self._exif = not self._exif, True if self._data.startswith(_NEEDED[marker], at) else self._exif
            return first and self._exif
        if marker == _COM or 0xE0 <= marker <= 0xEF:
            return marker in _NEEDED and self._data.startswith(_NEEDED[marker], at)
        return True

    def _scan(self, layers: int, at: int) -> int:
        if self._scans == 0 and layers < self._layers:
            self._several = True
        self._scans += 1
        marker = _MARKER.search(self._data, at)
        return len(self._data) if marker is None else marker.start()

    def _frame(self, body: bytes, progressive: bool) -> None:
        if len(body) < 6:
            return
        height, width = int.from_bytes(body[1:3], "big"), int.from_bytes(body[3:5], "big")
        factors = [(code >> 4, code & 15) for code in body[7::3]][: body[5]]
        across, down = (max((factor[axis] for factor in factors), default=1) or 1 for axis in (0, 1))
        units = -(-width // (8 * across)) * -(-height // (8 * down))
        self._layers, self._several = body[5], progressive
        self._held = max(self._held, sum(units * x * y * 64 * 2 for x, y in factors))
