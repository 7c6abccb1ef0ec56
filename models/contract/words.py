"""Normalised words of a block of captions, found in one buffer without a Python object per word."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from models.contract.text import normalize

Int64s = npt.NDArray[np.int64]

_SPACE, _BREAK = b" ", b"\n"
_PADDING = 16  # bytes after the last word, so that 16 can be read from any word's start


@dataclass(frozen=True, slots=True)
class Words:
    """UTF-8 in `buffer`; word w is buffer[starts[w]:ends[w]]; caption r has the words offsets[r]..offsets[r + 1]."""

    buffer: bytes
    starts: Int64s
    ends: Int64s
    offsets: Int64s


def split_words(texts: Sequence[str]) -> Words:
    """The words of every caption's normalised text. Captions are joined with line breaks, which no word holds."""
    joined = "\n".join(texts)
    if not joined.isascii():
        joined = "\n".join(map(normalize, texts))
    data = joined.encode("utf-8").translate(_FOLDING)
    if data.count(_BREAK) != len(texts) - 1:  # some caption has a line break of its own
        data = "\n".join(map(normalize, texts)).encode("utf-8")
    buffer = data + bytes(_PADDING)
    return _located(buffer, len(data), len(texts))


def _located(buffer: bytes, size: int, rows: int) -> Words:
    characters = np.frombuffer(buffer, dtype=np.uint8, count=size)
    breaks = characters == _BREAK[0]
    inside = np.zeros(size + 2, dtype=np.bool_)  # outside before the first and after the last character
    np.logical_or(breaks, characters == _SPACE[0], out=inside[1:-1])
    np.logical_not(inside[1:-1], out=inside[1:-1])
    edges = np.flatnonzero(inside[1:] != inside[:-1])
    starts, ends = edges[0::2], edges[1::2]
    offsets = np.empty(rows + 1, dtype=np.int64)
    offsets[0], offsets[-1] = 0, len(starts)
    offsets[1:-1] = np.searchsorted(starts, np.flatnonzero(breaks))
    return Words(buffer, starts, ends, offsets)


def _ascii_folding() -> bytes:
    """Bytes of UTF-8: ASCII upper case to lower, ASCII white space but the line break to a space."""
    table = bytearray(range(256))
    for code in range(128):
        character = chr(code)
        if character.isspace() and character != "\n":
            table[code] = _SPACE[0]
        else:
            table[code] = ord(character.lower())
    return bytes(table)


_FOLDING = _ascii_folding()
