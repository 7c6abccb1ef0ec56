"""The rows of the item store for one bundle: never those of another data set, whose ids may mean other items."""

import logging
from collections.abc import Sequence
from typing import Protocol

from models.bundle import Manifest
from models.items import ItemRow, ItemStoreError, ItemStoreOriginError, Origin, UserRow
from serving.items.user_keys import IN_CLEAR, UserKeys

log = logging.getLogger("sightline.transformer")


class OriginStore(Protocol):
    """What is asked of `serving.transformer.stores.StoreConnection`. Every method raises `ItemStoreError`."""

    def refresh(self) -> int:
        """The epoch of the rows now."""
        ...

    def origin(self) -> Origin | None:
        """Whose rows they are."""
        ...

    def get_many(self, item_ids: Sequence[str]) -> list[ItemRow | None]:
        """Rows in the order of the ids."""
        ...

    def get_user(self, user_id: str) -> UserRow | None:
        """The user's row."""
        ...


class OwnRows:
    """A `RankingStore` that compares the store's data set with the bundle's, again at each new epoch.

    A store that does not say whose rows it holds (an earlier version filled it) is used, with a warning.

    Args:
        bundle: what is served, for the messages; `manifest` says what it was trained on.
        any_data: another data set's rows are wanted, too; then the data set is not compared.
        user_keys: how users' ids are hidden in the store; rows that are hidden in another way are refused.
    """

    def __init__(
        self, store: OriginStore, bundle: str, manifest: Manifest, any_data: bool, user_keys: UserKeys = IN_CLEAR
    ) -> None:
        self._store, self._bundle, self._digest, self._any_data = store, bundle, manifest.data_digest, any_data
        self._user_keys = user_keys
        self._checked: int | None = None
        self._refusal: str | None = None
        self._warned = False

    def require(self) -> None:
        """Compare now, if the store answers. Raises `ItemStoreOriginError`; one that is away is compared later."""
        try:
            self.refresh()
        except ItemStoreOriginError:
            raise
        except ItemStoreError:
            return  # told where the connection is kept

    def refresh(self) -> int:
        """The epoch of the rows now. Raises `ItemStoreOriginError` for another data set's, `ItemStoreError`."""
        epoch = self._store.refresh()
        if epoch != self._checked:
            origin = self._store.origin()
            self._user_keys.require(origin, "the item store")
            if not self._any_data:
                self._compare(origin)
            self._checked = epoch
        if self._refusal is not None:
            raise ItemStoreOriginError(self._refusal)
        return epoch

    def get_many(self, item_ids: Sequence[str]) -> list[ItemRow | None]:
        """Rows in the order of the ids. Raises `ItemStoreError`."""
        return self._store.get_many(item_ids)

    def get_user(self, user_id: str) -> UserRow | None:
        """The user's row. Raises `ItemStoreError`."""
        return self._store.get_user(user_id)

    def _compare(self, origin: Origin | None) -> None:
        before, self._refusal = self._refusal, None
        if origin is None:
            if not self._warned:
                log.warning(
                    "the item store does not say of which data set it is (an earlier version filled it), so it is not "
                    "compared with bundle %s; caption the catalogue again",
                    self._bundle,
                )
            self._warned = True
        elif not origin.includes(self._digest):
            self._refusal = (
                f"bundle {self._bundle} was trained on the data {self._digest[:19]}, and the item store holds {origin}"
                ": its ids may mean other items; caption the bundle's data into the store, serve a bundle of its "
                "data, or say --any_data true if the ids are the same"
            )
            if self._refusal != before:
                log.error("%s", self._refusal)
        elif before is not None:
            log.info("the item store holds the data of bundle %s again", self._bundle)
