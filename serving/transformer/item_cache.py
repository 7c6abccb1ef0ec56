"""Encoded item rows of one contract, as matrices from which a request's rows are gathered by numpy."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from models.contract import Side

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
_FIRST_ROWS = 1024
_EVICTED = 8  # an eighth of a full cache goes at once, so that finding the oldest is paid rarely


@dataclass(frozen=True, slots=True)
class EncodedItems:
    """Rows of items: features, caption buckets ([n, T] or [n, T, k], None without captions), and what is known.

    `known` says that the item is in the store, `captioned` that a caption is, `flawed` that a stored value was unfit.
    """

    side: Side
    caption: Ints | None
    known: Bools
    captioned: Bools
    flawed: Bools

    def __len__(self) -> int:
        return len(self.known)

    def place(self, positions: Ints, rows: "EncodedItems") -> None:
        """Write `rows` over the rows at `positions`."""
        self.side.dense[positions] = rows.side.dense
        self.side.categorical[positions] = rows.side.categorical
        if self.caption is not None:
            self.caption[positions] = rows.caption
        self.known[positions] = rows.known
        self.captioned[positions] = rows.captioned
        self.flawed[positions] = rows.flawed

    def at(self, positions: Ints) -> "EncodedItems":
        """Copies of the rows at `positions`."""
        return EncodedItems(
            Side(self.side.dense[positions], self.side.categorical[positions]),
            None if self.caption is None else self.caption[positions],
            self.known[positions],
            self.captioned[positions],
            self.flawed[positions],
        )

    def widened(self, count: int) -> "EncodedItems":
        """`count` rows of zeros of this kind."""
        return EncodedItems(
            Side(_wide(count, self.side.dense), _wide(count, self.side.categorical)),
            None if self.caption is None else _wide(count, self.caption),
            _wide(count, self.known),
            _wide(count, self.captioned),
            _wide(count, self.flawed),
        )


class ItemCache:
    """Least recently used rows by item id; a row is fresh only in the epoch of the store in which it was put.

    `capacity` is in items. Memory grows with use up to capacity x (4 dense + 8 categorical + 8 caption columns) bytes.
    """

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._slots: dict[str, int] = {}
        self._names: list[str] = []
        self._free: list[int] = []
        self._rows: EncodedItems | None = None
        self._epochs: Ints = np.zeros(0, np.int64)
        self._used: Ints = np.zeros(0, np.int64)
        self._tick = 0

    def __len__(self) -> int:
        return len(self._slots)

    def find(self, item_ids: Sequence[str], epoch: int | None) -> Ints:
        """Slots of the ids, int64 [n], -1 where absent or not of this epoch; None takes rows of any epoch."""
        get = self._slots.get
        slots = np.fromiter([get(item_id, -1) for item_id in item_ids], np.int64, len(item_ids))
        if not self._slots:
            return slots
        if epoch is not None:
            slots[self._epochs[slots] != epoch] = -1
        self._tick += 1
        self._used[slots[slots >= 0]] = self._tick
        return slots

    def gather(self, slots: Ints) -> EncodedItems:
        """Copies of the rows in these slots, all of which must be there."""
        assert self._rows is not None, "find returned slots, so rows were put"
        return self._rows.at(slots)

    def put(self, item_ids: Sequence[str], rows: EncodedItems, epoch: int) -> bool:
        """Keep rows of ids that all differ; return False if they are more than the cache holds: none is kept."""
        if len(item_ids) > self._capacity:
            return False
        for item_id in item_ids:
            self._drop(self._slots.get(item_id, -1))
        self._make_room(len(item_ids), rows)
        taken = [self._free.pop() for _ in item_ids]
        for item_id, slot in zip(item_ids, taken, strict=True):
            self._slots[item_id] = slot
            self._names[slot] = item_id
        slots = np.array(taken, np.int64)
        assert self._rows is not None, "room was made, so there are matrices"
        self._rows.place(slots, rows)
        self._epochs[slots] = epoch
        self._used[slots] = self._tick
        return True

    def _drop(self, slot: int) -> None:
        if slot >= 0:
            del self._slots[self._names[slot]]
            self._names[slot] = ""
            self._free.append(slot)

    def _make_room(self, count: int, like: EncodedItems) -> None:
        if len(self._free) >= count:
            return
        size = min(self._capacity, max(_FIRST_ROWS, len(self._slots) + count, 2 * len(self._names)))
        if size > len(self._names):
            self._grow(size, like)
        if len(self._free) < count:
            self._evict(max(count - len(self._free), self._capacity // _EVICTED))

    def _evict(self, count: int) -> None:
        slots = np.fromiter(self._slots.values(), np.int64, len(self._slots))
        count = min(count, len(slots))
        for slot in slots[np.argpartition(self._used[slots], count - 1)[:count]].tolist():
            self._drop(slot)

    def _grow(self, size: int, like: EncodedItems) -> None:
        old, rows = self._rows, like.widened(size)
        epochs, used = np.full(size, -1, np.int64), np.zeros(size, np.int64)
        kept = len(self._names)
        self._names += [""] * (size - kept)
        self._free += range(kept, size)
        epochs[:kept], used[:kept] = self._epochs, self._used
        self._rows, self._epochs, self._used = rows, epochs, used
        if old is not None:
            rows.place(np.arange(kept), old)


def _wide(size: int, like: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return np.zeros((size, *like.shape[1:]), like.dtype)


def merged(count: int, parts: Sequence[tuple[Ints, EncodedItems]]) -> EncodedItems:
    """One block of `count` rows from parts that each say at which positions their rows belong."""
    whole = parts[0][1].widened(count)
    for positions, rows in parts:
        whole.place(positions, rows)
    return whole
