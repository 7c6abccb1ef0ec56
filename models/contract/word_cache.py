"""Words to token ids, remembered: the lever that makes tokenization of captions fast."""

from __future__ import annotations

from collections.abc import Callable
from itertools import chain

import numpy as np
import numpy.typing as npt

from models.contract.tokens import TokenRows
from models.contract.word_table import LONGEST, UNKNOWN_WORD, WordTable, word_keys
from models.contract.words import Words

Ids = npt.NDArray[np.int32]
Int64s = npt.NDArray[np.int64]


class WordCache:
    """Token ids of words seen before; forgotten as a whole when it has grown past its bounds.

    `encode_words` gives the ids of words that are not in it. Not safe for threads: the owner locks.
    """

    def __init__(self, encode_words: Callable[[list[str]], list[list[int]]], max_words: int, max_bytes: int) -> None:
        self._encode_words = encode_words
        self._max_words, self._max_bytes = max_words, max_bytes
        self._forget()

    def __len__(self) -> int:
        return len(self._numbers)

    def _forget(self) -> None:
        self._numbers: dict[bytes, int] = {}  # every word; the table has most of the short ones
        self._table = WordTable()
        self._bytes = 0
        self._ids: Ids = np.empty(0, dtype=np.int32)
        self._starts: Int64s = np.zeros(1, dtype=np.int64)  # number 0 is no word
        self._lengths: Int64s = np.zeros(1, dtype=np.int64)

    def encode(self, words: Words) -> TokenRows:
        """The ids of every caption: one row per caption."""
        if len(self) > self._max_words or self._bytes > self._max_bytes:
            self._forget()
        numbers = self._look_up(words)
        lengths = self._lengths.take(numbers)
        offsets = np.zeros(len(numbers) + 1, dtype=np.int64)
        ends = np.cumsum(lengths, out=offsets[1:])
        places = np.repeat(self._starts.take(numbers) - ends + lengths, lengths)
        places += np.arange(len(places))
        return TokenRows(self._ids.take(places), offsets.take(words.offsets))

    def _look_up(self, words: Words) -> Int64s:
        keys = word_keys(words)
        numbers = self._table.find(keys)
        missed = np.flatnonzero(numbers == UNKNOWN_WORD)
        if len(missed):
            starts, ends = words.starts[missed].tolist(), words.ends[missed].tolist()
            buffer = words.buffer
            numbers[missed] = self._from_dictionary([buffer[s:e] for s, e in zip(starts, ends, strict=True)])
        return numbers

    def _from_dictionary(self, missed: list[bytes]) -> list[int]:
        new = [word for word in dict.fromkeys(missed) if word not in self._numbers]
        if new:
            self._learn(new)
        return list(map(self._numbers.__getitem__, missed))

    def _learn(self, new: list[bytes]) -> None:
        encoded = self._encode_words([word.decode("utf-8") for word in new])
        lengths = np.fromiter(map(len, encoded), dtype=np.int64, count=len(encoded))
        starts = len(self._ids) + np.cumsum(lengths) - lengths
        flat = np.fromiter(chain.from_iterable(encoded), dtype=np.int32, count=int(lengths.sum()))
        known = len(self._numbers) + 1
        self._numbers.update((word, known + position) for position, word in enumerate(new))
        self._table.add(_keys_of(new))
        self._bytes += sum(map(len, new))
        self._ids = np.concatenate((self._ids, flat))
        self._starts = np.concatenate((self._starts, starts))
        self._lengths = np.concatenate((self._lengths, lengths))


def _keys_of(new: list[bytes]) -> npt.NDArray[np.uint64]:
    lengths = np.fromiter(map(len, new), dtype=np.int64, count=len(new))
    ends = np.cumsum(lengths)
    buffer = b"".join(new) + bytes(LONGEST + 1)
    return word_keys(Words(buffer, ends - lengths, ends, np.array([0, len(new)])))
