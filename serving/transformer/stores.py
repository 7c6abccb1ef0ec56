"""The item store as the ranking path sees it: it may be away, and is then asked again after a pause."""

import threading
from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

from models.items import ItemRow, ItemStoreError, Origin, UserRow

T = TypeVar("T")


class Store(Protocol):
    """What ranking reads: a part of `ItemStore` and of `UserStore`."""

    def get_many(self, item_ids: Sequence[str]) -> list[ItemRow | None]:
        """Rows in the order of the ids."""
        ...

    def get_user(self, user_id: str) -> UserRow | None:
        """The user's row."""
        ...

    def generation(self) -> int:
        """A number that changes with every write."""
        ...

    def origin(self) -> Origin | None:
        """Whose rows these are; None where that was never said."""
        ...

    def close(self) -> None:
        """Let go of the store."""
        ...


Start = Callable[[Callable[[], None]], None]


def at_once(attempt: Callable[[], None]) -> None:
    """Open the store while the request waits: right for a folder of this machine, which answers in microseconds."""
    attempt()


def beside(attempt: Callable[[], None]) -> None:
    """Open the store in a thread: right for a server, of which nobody knows whether and when it answers."""
    threading.Thread(target=attempt, name="item-store", daemon=True).start()


class StoreConnection:
    """Opens the store when it is first needed and again after a failure, at most once every `pause` seconds.

    Every method raises `ItemStoreError` while the store is away; the caller degrades. `epoch` names a state of the
    rows: it never goes back to an earlier value, not even when the store is replaced by another one. `reopen` says how
    a store that failed is opened again: a request that meets a store which hangs waits for it once, the next ones not.
    """

    def __init__(
        self,
        opened: Callable[[], Store],
        *,
        clock: Callable[[], float],
        report: Callable[[ItemStoreError | None], None],
        pause: float = 1.0,
        reopen: Start = at_once,
    ) -> None:
        self._opened, self._clock, self._report, self._pause = opened, clock, report, pause
        self._reopen = reopen
        self._store: Store | None = None
        self._failure: ItemStoreError | None = None
        self._next_try = float("-inf")
        self._opening = False
        self._generation: int | None = None
        self.epoch = 0

    def refresh(self) -> int:
        """Return the epoch of the rows now. Raises `ItemStoreError`."""
        generation = self._ask(lambda store: store.generation())
        if generation != self._generation:
            self._generation = generation
            self.epoch += 1
        return self.epoch

    def get_many(self, item_ids: Sequence[str]) -> list[ItemRow | None]:
        """Rows in the order of the ids. Raises `ItemStoreError`."""
        return self._ask(lambda store: store.get_many(item_ids))

    def get_user(self, user_id: str) -> UserRow | None:
        """The user's row. Raises `ItemStoreError`."""
        return self._ask(lambda store: store.get_user(user_id))

    def origin(self) -> Origin | None:
        """Whose rows these are; None where that was never said. Raises `ItemStoreError`."""
        return self._ask(lambda store: store.origin())

    def close(self) -> None:
        """Close the store if it is open."""
        if self._store is not None:
            self._store.close()
            self._store = None

    def _ask(self, question: Callable[[Store], T]) -> T:
        store = self._connected()
        try:
            return question(store)
        except ItemStoreError as cause:
            self.close()
            self._fail(cause)
            raise

    def _connected(self) -> Store:
        if self._store is None and not self._opening and self._clock() >= self._next_try:
            self._opening = True
            start = self._reopen if self._failure else at_once
            start(self._open)
        if self._store is None:
            raise ItemStoreError(str(self._failure)) from self._failure
        return self._store

    def _open(self) -> None:
        try:
            self._store = self._opened()
        except ItemStoreError as cause:
            self._fail(cause)
            return
        finally:
            self._opening = False
        if self._failure is not None:
            self._failure = None
            self._report(None)

    def _fail(self, cause: ItemStoreError) -> None:
        self._generation = None
        self._next_try = self._clock() + self._pause
        if self._failure is None or str(cause) != str(self._failure):
            self._report(cause)
        self._failure = cause
