"""Items that were asked for and have no caption, kept for the captioning step."""

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

import orjson

from models.files import write_atomic
from models.items import ItemStoreError

Sink = Callable[[Sequence[str]], None]


class MissingCaptions:
    """A bounded set of item ids in the order they were first missed; `flush` hands the whole set to the sink.

    An id leaves the set when its caption turns up. A full set takes no more: the flood is counted, not kept.
    """

    def __init__(self, limit: int, sink: Sink, known: Iterable[str] = ()) -> None:
        self._limit, self._sink = limit, sink
        self._ids: dict[str, None] = dict.fromkeys(list(known)[:limit])
        self._changed = False
        self.dropped = 0

    def __len__(self) -> int:
        return len(self._ids)

    def missed(self, item_ids: Iterable[str]) -> None:
        """Note items without caption."""
        for item_id in item_ids:
            if item_id in self._ids:
                continue
            if len(self._ids) >= self._limit:
                self.dropped += 1
                continue
            self._ids[item_id] = None
            self._changed = True

    def captioned(self, item_ids: Iterable[str]) -> None:
        """Forget items whose caption is known now."""
        if not self._ids:
            return
        for item_id in item_ids:
            if self._ids.pop(item_id, self) is None:
                self._changed = True

    def take(self) -> list[str] | None:
        """The set to write if it changed since the last call; `None` if there is nothing to do."""
        if not self._changed:
            return None
        self._changed = False
        return list(self._ids)

    def flush(self, item_ids: Sequence[str]) -> None:
        """Hand a set from `take` to the sink; may run in another thread.

        Raises:
            OSError, ItemStoreError: it could not be written; the next `take` gives it again.
        """
        try:
            self._sink(item_ids)
        except (OSError, ItemStoreError):
            self._changed = True
            raise


def write_ids(path: Path) -> Sink:
    """A sink that keeps the set in a file, one JSON string a line, replaced atomically."""

    def sink(item_ids: Sequence[str]) -> None:
        write_atomic(path, b"".join(orjson.dumps(item_id) + b"\n" for item_id in item_ids))

    return sink


class WantedSet(Protocol):
    """A set that all replicas share: `serving.items.redis_store` has one beside the rows."""

    def want(self, item_ids: Sequence[str], limit: int) -> None:
        """Note ids; the first `limit` stay."""
        ...

    def unwant(self, item_ids: Sequence[str]) -> None:
        """Forget ids."""
        ...


def share_ids(opened: Callable[[], AbstractContextManager[WantedSet]], limit: int) -> Sink:
    """A sink that tells a shared set what came and went since the last time; what others noted stays."""
    told: set[str] = set()

    def sink(item_ids: Sequence[str]) -> None:
        before = set(told)
        told.clear()  # if this fails, all is told again: the shared set may have been lost
        with opened() as wanted:
            wanted.want([item_id for item_id in item_ids if item_id not in before], limit)
            wanted.unwant(sorted(before.difference(item_ids)))
        told.update(item_ids)

    return sink


def read_ids(path: Path) -> list[str]:
    """The ids of a file that `write_ids` keeps; none if there is no file. Raises ValueError naming a bad line."""
    if not path.exists():
        return []
    ids = []
    for number, line in enumerate(path.read_bytes().splitlines(), start=1):
        try:
            item_id = orjson.loads(line)
        except orjson.JSONDecodeError as cause:
            raise ValueError(f"{path}, line {number}: {cause}; expected one JSON string; delete the file") from cause
        if not isinstance(item_id, str):
            raise ValueError(f"{path}, line {number}: is {item_id!r}; expected one JSON string; delete the file")
        ids.append(item_id)
    return ids
