"""Token ids of many captions in two flat arrays."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from models.contract.encoders import MAX_TOKEN_ID
from models.contract.errors import refuse

NO_TOKENS: npt.NDArray[np.int32] = np.empty(0, dtype=np.int32)


@dataclass(frozen=True, slots=True)
class TokenRows:
    """`ids` int32 [n], `offsets` int64 [rows + 1]: row r is ids[offsets[r]:offsets[r + 1]]; empty = no caption."""

    ids: npt.NDArray[np.int32]
    offsets: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __iter__(self) -> Iterator[npt.NDArray[np.int32]]:
        bounds = self.offsets.tolist()
        return (self.ids[start:end] for start, end in pairwise(bounds))

    @classmethod
    def of(cls, rows: Sequence[npt.NDArray[np.integer[Any]] | None]) -> Self:
        """From one array per row; None is a row without tokens.

        Raises `FeatureValueError` naming the row that is not a flat integer array of ids in [0, 2**31).
        """
        arrays = [NO_TOKENS if row is None else row for row in rows]
        if not all(map(_is_flat_integers, arrays)):
            number = next(i for i, array in enumerate(arrays) if not _is_flat_integers(array))
            refuse("caption", number, rows[number], "a flat integer array of token ids", "give CaptionTokenizer's ids")
        lengths = np.fromiter(map(len, arrays), dtype=np.int64, count=len(arrays))
        offsets = np.zeros(len(arrays) + 1, dtype=np.int64)
        np.cumsum(lengths, out=offsets[1:])
        ids = np.concatenate(arrays) if arrays else NO_TOKENS
        if ids.dtype != np.int32:
            _check_ids(ids, offsets, MAX_TOKEN_ID + 1)
        return cls(ids.astype(np.int32, copy=False), offsets)

    def check(self, limit: int = MAX_TOKEN_ID + 1) -> None:
        """Raises `FeatureValueError` naming the first row with an id outside [0, limit)."""
        _check_ids(self.ids, self.offsets, limit)


def _is_flat_integers(array: Any) -> bool:
    return isinstance(array, np.ndarray) and array.ndim == 1 and array.dtype.kind in "iu"


def _check_ids(ids: npt.NDArray[np.integer[Any]], offsets: npt.NDArray[np.int64], limit: int) -> None:
    if len(ids) == 0 or (int(ids.min()) >= 0 and int(ids.max()) < limit):
        return
    place = int(np.flatnonzero((ids < 0) | (ids >= limit))[0])
    row = int(np.searchsorted(offsets, place, side="right")) - 1
    fix = "use tokens of the contract's tokenizer"
    refuse("caption", row, int(ids[place]), f"token ids in [0, {limit})", fix)
