"""What is known of items and users, and the seam behind which it is stored.

Rows are plain frozen dataclasses; a store is anything that has the methods of `ItemStore` and `UserStore`
(LMDB on one machine: `serving.items.lmdb_store`). Nothing here does I/O.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

FeatureValue = str | int | float


class ItemStoreError(Exception):
    """The store cannot be read or written; the message says what was found and what to do."""


class ItemRowError(ItemStoreError):
    """A row given to `put_many` or `put_users` cannot be stored; nothing of the call was written."""


class ItemStoreOriginError(ItemStoreError):
    """The store holds the rows of another data set; the message names both."""


@dataclass(frozen=True, slots=True)
class Origin:
    """The data set whose rows a store holds.

    A data set that grows or is corrected stays the same one while its tables stay at their place.

    Attributes:
        place: where its tables are: an absolute folder, a URI, or a name such as MovieLens-100K.
        digest: `sha256:<64 hex>` of what was written last (`training.data.dataset.Dataset.digest`).
        earlier: digests of the same data set before, the newest first.
        users: fingerprint of the key that hides users' ids in the store; empty: they are in clear.
    """

    place: str
    digest: str
    earlier: tuple[str, ...] = ()
    users: str = ""

    def includes(self, digest: str) -> bool:
        """Whether this is the data set of that digest, now or earlier."""
        return digest == self.digest or digest in self.earlier

    def __str__(self) -> str:
        return f"{self.place} ({self.digest[:19]})"


@dataclass(frozen=True, slots=True)
class StoredCaption:
    """A caption, its token ids, and who made them.

    `tokens` is int32 of shape [tokens], untruncated; `tokenizer` is the sha256 of the tokenizer.json that
    made them; `captioner` and `prompt` name the model and the prompt that wrote `text`; `image` is the sha256 of the
    picture's bytes as 64 hex digits, empty in a row of an earlier version.
    """

    text: str
    tokens: npt.NDArray[np.int32]
    tokenizer: str
    captioner: str
    prompt: str
    image: str = ""

    def __eq__(self, other: object) -> bool:
        """Value equality: the generated one would ask numpy for the truth of an array."""
        if not isinstance(other, StoredCaption):
            return NotImplemented
        return np.array_equal(self.tokens, other.tokens) and self._words() == other._words()

    def __hash__(self) -> int:
        """Equal captions hash equal; the tokens follow from the text and the tokenizer."""
        return hash(self._words())

    def _words(self) -> tuple[str, str, str, str, str]:
        return (self.text, self.tokenizer, self.captioner, self.prompt, self.image)


@dataclass(frozen=True, slots=True)
class ItemRow:
    """An item: its caption, if it has one, and its own features by the contract's feature names."""

    item_id: str
    caption: StoredCaption | None
    features: Mapping[str, FeatureValue]


@dataclass(frozen=True, slots=True)
class UserRow:
    """A user: features by the contract's feature names."""

    user_id: str
    features: Mapping[str, FeatureValue]


class ItemStore(Protocol):
    """Items by id. Every method raises `ItemStoreError` when the store cannot answer."""

    def get_many(self, item_ids: Sequence[str]) -> list[ItemRow | None]:
        """Return one entry per id, in the order asked, None where unknown; all read at one moment."""
        ...

    def put_many(self, rows: Iterable[ItemRow]) -> int:
        """Write all rows or none, replacing rows of the same id; return how many were written."""
        ...

    def items(self) -> Iterator[ItemRow]:
        """Yield every row in the order of the ids' UTF-8 bytes."""
        ...

    def count(self) -> int:
        """Return the number of items."""
        ...

    def generation(self) -> int:
        """Return a number that changes with every committed write: equal numbers mean unchanged rows."""
        ...

    def remove_many(self, item_ids: Sequence[str]) -> None:
        """Remove all these rows or none; an id that is not there is no error."""
        ...

    def origin(self) -> Origin | None:
        """Return whose rows these are; None when it was never said (an earlier version did not)."""
        ...

    def set_origin(self, origin: Origin) -> None:
        """Say whose rows these are."""
        ...


class UserStore(Protocol):
    """Users by id. Every method raises `ItemStoreError` when the store cannot answer."""

    def get_user(self, user_id: str) -> UserRow | None:
        """Return the user's row, None where unknown."""
        ...

    def put_users(self, rows: Iterable[UserRow]) -> int:
        """Write all rows or none, replacing rows of the same id; return how many were written."""
        ...

    def user_ids(self) -> Iterator[str]:
        """Yield every user's id, each at least once."""
        ...

    def remove_users(self, user_ids: Sequence[str]) -> None:
        """Remove all these rows or none; an id that is not there is no error."""
        ...
