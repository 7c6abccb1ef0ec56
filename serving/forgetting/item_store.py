"""A user's row in an item store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from models.items import ItemStoreError
from serving.forgetting.place import Found, PlaceError
from serving.items.uri import open_store

ROWS = "rows of users"


class ItemStorePlace:
    """An LMDB folder, or Redis or Valkey."""

    def __init__(self, place: str, environ: Mapping[str, str]) -> None:
        self.name = f"item store {place}"
        self._place, self._environ = place, environ

    def find(self, users: Sequence[str]) -> Found:
        """How many of the users have a row."""
        try:
            with open_store(self._place, self._environ, readonly=True) as store:
                store.user_keys.require(store.origin(), self.name)
                return Found({ROWS: sum(store.has_user(user) for user in set(users))})
        except ItemStoreError as cause:
            raise PlaceError(str(cause)) from cause

    def forget(self, users: Sequence[str]) -> Found:
        """Remove the rows; the file, or the server's log, is written anew, since both keep what was removed."""
        try:
            with open_store(self._place, self._environ, readonly=True) as store:  # one that is not there is not made
                store.user_keys.require(store.origin(), self.name)
            with open_store(self._place, self._environ) as store:
                had = sum(store.has_user(user) for user in set(users))
                store.remove_users(list(users))
                return Found({ROWS: had}, store.scrub())
        except (ItemStoreError, OSError) as cause:
            raise PlaceError(str(cause)) from cause
