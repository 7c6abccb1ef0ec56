"""An exact table from short words to numbers that is asked about whole arrays of words at once."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from models.contract.hashing import UInt64s, splitmix64
from models.contract.words import Words

Int64s = npt.NDArray[np.int64]
Slots = npt.NDArray[np.int32]

UNKNOWN_WORD = 0  # number that no word has
LONGEST = 15  # bytes; the 16th holds the length
_KEY_BYTES = 16
_SPREAD = np.uint64(0xD6E8FEB86659FD93)  # odd, so multiplying loses nothing


def word_keys(words: Words) -> UInt64s:
    """uint64 [n, 2]: the bytes of each word and its length, which together are the word; 0 for a longer one."""
    lengths = np.minimum(words.ends - words.starts, _KEY_BYTES)
    windows: npt.NDArray[np.void] = np.ndarray(
        (len(words.buffer) - _KEY_BYTES + 1,), dtype="V16", buffer=words.buffer, strides=(1,)
    )
    keys = windows[words.starts].view(np.uint64).reshape(-1, 2)
    np.bitwise_and(keys, _MASKS[lengths], out=keys)
    return np.bitwise_or(keys, _LENGTHS[lengths], out=keys)


def _masks() -> UInt64s:
    rows = [b"\xff" * length + bytes(_KEY_BYTES - length) for length in range(_KEY_BYTES)]
    return np.frombuffer(b"".join([*rows, bytes(_KEY_BYTES)]), dtype=np.uint64).reshape(-1, 2)


def _lengths() -> UInt64s:
    rows = [bytes(_KEY_BYTES - 1) + bytes([length]) for length in range(_KEY_BYTES)]
    return np.frombuffer(b"".join([*rows, bytes(_KEY_BYTES)]), dtype=np.uint64).reshape(-1, 2)


_MASKS, _LENGTHS = _masks(), _lengths()


class WordTable:
    """Keys of words by number, with two slots to find each in. A word that finds both taken is not found: its owner
    keeps a dictionary for those, for long words and for new ones."""

    def __init__(self) -> None:
        self._keys = np.zeros((1, 2), dtype=np.uint64)  # of number 0, which stands in empty slots
        self._first: Slots = np.zeros(0, dtype=np.int32)
        self._second: Slots = np.zeros(0, dtype=np.int32)
        self._resize(12)

    def add(self, keys: UInt64s) -> None:
        """Append words: they get the next numbers, from 1. Long ones get a number, but are never found."""
        start = len(self._keys)
        self._keys = np.concatenate((self._keys, keys))
        if len(self._keys) * 4 > len(self._first):
            self._resize(int(len(self._keys) * 8 - 1).bit_length())
        else:
            self._insert(np.arange(start, len(self._keys), dtype=np.int32))

    def find(self, keys: UInt64s) -> Int64s:
        """The number of each word, or `UNKNOWN_WORD`: int64 [n] of keys [n, 2]."""
        hashes = _hashes(keys)
        numbers = self._first.take((hashes >> self._shift).view(np.int64)).astype(np.int64)
        wrong = np.flatnonzero(self._differ(numbers, keys))
        if len(wrong):
            second = self._second.take((hashes[wrong] & self._mask).view(np.int64)).astype(np.int64)
            second[self._differ(second, keys[wrong])] = UNKNOWN_WORD
            numbers[wrong] = second
        return numbers

    def _differ(self, numbers: Int64s, keys: UInt64s) -> npt.NDArray[np.bool_]:
        found = self._keys.take(numbers, axis=0)
        return np.asarray((found[:, 0] != keys[:, 0]) | (found[:, 1] != keys[:, 1]))

    def _resize(self, bits: int) -> None:
        self._shift, self._mask = np.uint64(64 - bits), np.uint64((1 << bits) - 1)
        self._first, self._second = np.zeros(1 << bits, np.int32), np.zeros(1 << bits, np.int32)
        self._insert(np.arange(1, len(self._keys), dtype=np.int32))

    def _insert(self, numbers: Slots) -> None:
        numbers = numbers[self._keys[numbers, 1] != 0]  # the length is in there: all long words share the key 0
        hashes = _hashes(self._keys[numbers])
        left = _claim(self._first, hashes >> self._shift, numbers)
        _claim(self._second, (hashes & self._mask)[left], numbers[left])


def _hashes(keys: UInt64s) -> UInt64s:
    return splitmix64(keys[:, 0] ^ (keys[:, 1] * _SPREAD))


def _claim(slots: Slots, places: UInt64s, numbers: Slots) -> npt.NDArray[np.bool_]:
    """Give each number its place where that is free; the earliest of several wins. Returns who got none."""
    indices = places.view(np.int64)
    free = slots.take(indices) == UNKNOWN_WORD
    slots[indices[free][::-1]] = numbers[free][::-1]
    return np.asarray(slots.take(indices) != numbers)
