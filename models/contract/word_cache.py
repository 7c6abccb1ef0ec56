"""Words to token ids, remembered: the lever that makes tokenization of captions fast."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import chain

import numpy as np
import numpy.typing as npt

from models.contract.tokens import TokenRows

Ids = npt.NDArray[np.int32]
Int64s = npt.NDArray[np.int64]


class WordCache:
    """Token ids of words seen before, in one flat array; forgotten as a whole when it has grown past its bounds.

    `encode_words` gives the ids of words that are not in it. Not safe for threads: the owner locks.
    """

    def __init__(
        self, encode_words: Callable[[list[str]], list[list[int]]], max_words: int, max_characters: int
    ) -> None:
        self._encode_words = encode_words
        self._max_words, self._max_characters = max_words, max_characters
        self._forget()

    def __len__(self) -> int:
        return len(self._numbers)

    def _forget(self) -> None:
        self._numbers: dict[str, int] = {}
        self._characters = 0
        self._ids: Ids = np.empty(0, dtype=np.int32)
        self._starts: Int64s = np.empty(0, dtype=np.int64)
        self._lengths: Int64s = np.empty(0, dtype=np.int64)

    def encode(self, captions: Sequence[Sequence[str]]) -> TokenRows:
        """The ids of captions that are split into words; one row per caption."""
        words_of_rows = np.fromiter(map(len, captions), dtype=np.int64, count=len(captions))
        numbers = self._look_up(captions, int(words_of_rows.sum()))
        lengths = self._lengths.take(numbers)
        ends = np.cumsum(lengths)
        total = int(ends[-1]) if len(ends) else 0
        places = np.repeat(self._starts.take(numbers) - (ends - lengths), lengths) + np.arange(total)
        word_offsets = np.concatenate(([0], ends))
        row_offsets = np.concatenate(([0], np.cumsum(words_of_rows)))
        rows = TokenRows(self._ids.take(places), word_offsets[row_offsets])
        if len(self._numbers) > self._max_words or self._characters > self._max_characters:
            self._forget()
        return rows

    def _look_up(self, captions: Sequence[Sequence[str]], count: int) -> Int64s:
        try:
            return self._known(captions, count)
        except KeyError:  # the warm path stays one dictionary look-up per word
            self._learn(set(chain.from_iterable(captions)) - self._numbers.keys())
            return self._known(captions, count)

    def _known(self, captions: Iterable[Sequence[str]], count: int) -> Int64s:
        words = chain.from_iterable(captions)
        return np.fromiter(map(self._numbers.__getitem__, words), dtype=np.int64, count=count)

    def _learn(self, words: set[str]) -> None:
        new = sorted(words)
        encoded = self._encode_words(new)
        lengths = np.fromiter(map(len, encoded), dtype=np.int64, count=len(encoded))
        starts = len(self._ids) + np.cumsum(lengths) - lengths
        flat = np.fromiter(chain.from_iterable(encoded), dtype=np.int32, count=int(lengths.sum()))
        known = len(self._numbers)
        self._numbers.update((word, known + position) for position, word in enumerate(new))
        self._characters += sum(map(len, new))
        self._ids = np.concatenate((self._ids, flat))
        self._starts = np.concatenate((self._starts, starts))
        self._lengths = np.concatenate((self._lengths, lengths))
