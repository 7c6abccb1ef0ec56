"""A request to the ranker's tensors: rows from the cache, from the store, or encoded in place."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from models.contract import CaptionTokenizer, Contract, Fault, FeatureEncoder, FeatureValueError, Side, Source
from models.items import FeatureValue, ItemRow, ItemStoreError, ItemStoreOriginError, UserRow
from serving.transformer.errors import InvalidRequestError, shown
from serving.transformer.feature_names import OWN_IDS, FeatureNames
from serving.transformer.inline_captions import Tokens, tokenized
from serving.transformer.item_cache import Bools, EncodedItems, Ints, ItemCache, merged
from serving.transformer.request import RankRequest, Value

STORE_AWAY = "item_store_unavailable"
OTHER_DATA = "item_store_of_other_data"
_UNUSABLE = {STORE_AWAY, OTHER_DATA}
STORED_VALUE = "stored_value_invalid"
USERS_KEPT = 10_000
_STORED_TEXT_LIMIT = 1 << 20


class RankingStore(Protocol):
    """The store as `serving.transformer.own_rows` gives it."""

    def refresh(self) -> int:
        """The epoch of the rows now."""
        ...

    def get_many(self, item_ids: Sequence[str]) -> list[ItemRow | None]:
        """Rows in the order of the ids."""
        ...

    def get_user(self, user_id: str) -> UserRow | None:
        """The user's row."""
        ...


@dataclass(frozen=True, slots=True)
class Features:
    """Tensors of a request, and what was known: bool [candidates] each; reasons why the answer is degraded."""

    tensors: Mapping[str, npt.NDArray[Any]]
    user_known: bool
    item_known: Bools
    caption_stored: Bools
    caption_inline: Bools
    degraded: tuple[str, ...]
    cache_hits: int


@dataclass(frozen=True, slots=True)
class EncodedUser:
    """A user's encoded side, one row; whether the store has the user, and whether a stored value was unfit."""

    side: Side
    known: bool
    flawed: bool


class FeatureBuilder:
    """Builds the tensors of one contract. Not for several threads: it lives in the event loop.

    `on_captioned(item_ids)` and `on_missing(item_ids)` hear of items whose stored caption was found, or was not.
    """

    def __init__(
        self,
        contract: Contract,
        tokenizer: CaptionTokenizer | None,
        store: RankingStore,
        *,
        cache_rows: int,
        on_captioned: Callable[[Sequence[str]], None] = lambda _: None,
        on_missing: Callable[[Sequence[str]], None] = lambda _: None,
    ) -> None:
        self._names = FeatureNames(contract)
        self._encoder = FeatureEncoder(contract)
        self._caption, self._tokenizer, self._store = contract.caption, tokenizer, store
        self._cache = ItemCache(cache_rows)
        self._users: dict[str, EncodedUser] = {}
        self._users_epoch: int | None = None
        self._on_captioned, self._on_missing = on_captioned, on_missing

    async def inline_tokens(self, request: RankRequest, seconds: float) -> Tokens:
        """Token ids of the captions that the request brings, in its order; none where the contract has no caption.

        Raises `OverloadedError` where they are not ready within `seconds`.
        """
        if self._caption is None or not request.captions:
            return []
        assert self._tokenizer is not None, "a contract with a caption comes with its tokenizer"
        return await tokenized(self._tokenizer, list(request.captions.values()), seconds)

    def build(self, request: RankRequest, inline_tokens: Tokens = ()) -> Features:
        """Encode user, context and candidates; never fails for what the store holds or that it is away.

        `inline_tokens` are those of `inline_tokens(request)`. Raises `InvalidRequestError` for a value of the request
        that the contract cannot encode.
        """
        degraded: set[str] = set()
        epoch = self._epoch(degraded)
        user = self._user(request, epoch, degraded)
        context = self._side("context", [request.context], [request.context], [False], ["context"])
        items, hits = self._items(request.item_ids, epoch, degraded)
        stored = items.captioned.copy()
        inline = self._overlay(request, inline_tokens, items, degraded)
        if items.flawed.any():
            degraded.add(STORED_VALUE)
        self._tell_missing(request.item_ids, stored | inline)
        tensors = self._encoder.join(user.side, context, items.side, items.caption)
        return Features(tensors, user.known, items.known, stored, inline, tuple(sorted(degraded)), hits)

    def _epoch(self, degraded: set[str]) -> int | None:
        try:
            return self._store.refresh()
        except ItemStoreOriginError:
            degraded.add(OTHER_DATA)
            return None
        except ItemStoreError:  # reported where the connection is kept; rows that are cached still serve
            degraded.add(STORE_AWAY)
            return None

    def _user(self, request: RankRequest, epoch: int | None, degraded: set[str]) -> EncodedUser:
        """The user's side. One without features in the request is kept for the epoch: users ask again and again."""
        if epoch != self._users_epoch or len(self._users) >= USERS_KEPT:
            self._users.clear()
            self._users_epoch = epoch
        found = None if request.user else self._users.get(request.user_id)
        if found is None:
            found = self._encoded_user(request, self._stored_user(request.user_id, degraded))
            if not request.user and not degraded:
                self._users[request.user_id] = found
        if found.flawed:
            degraded.add(STORED_VALUE)
        return found

    def _stored_user(self, user_id: str, degraded: set[str]) -> UserRow | None:
        if _UNUSABLE & degraded:
            return None
        try:
            return self._store.get_user(user_id)
        except ItemStoreError:
            degraded.add(STORE_AWAY)
            return None

    def _encoded_user(self, request: RankRequest, stored: UserRow | None) -> EncodedUser:
        values: dict[str, Value] = {}
        flawed = [False]
        if stored is not None:
            values, flawed[0] = self._fitting("user", stored.features)
        values.update(request.user)
        if self._names.has_id["user"]:
            values[OWN_IDS["user"]] = request.user_id
        side = self._side("user", [values], [request.user], flawed, ["user"])
        return EncodedUser(side, stored is not None, flawed[0])

    def _side(
        self,
        source: Source,
        values: Sequence[Mapping[str, Value]],
        given: Sequence[Mapping[str, Value]],
        flawed: list[bool],
        where: Sequence[str],
    ) -> Side:
        """Encode rows. A stored value that the contract refuses is left out and its row marked in `flawed`; one that
        the request gave raises `InvalidRequestError`, under the row's name in `where`.
        """
        names = list(self._names.kinds(source))
        if self._names.has_id.get(source):
            names.append(OWN_IDS[source])
        columns = {name: [row.get(name) for row in values] for name in names}
        while True:
            try:
                return self._encoder.side(source, columns, len(values))
            except FeatureValueError as cause:
                if cause.row is None:
                    raise
                if cause.feature in given[cause.row]:
                    path = f"{where[cause.row]}.{cause.feature}"
                    fault = Fault(path, shown(cause.value), cause.expected, cause.fix)
                    raise InvalidRequestError([fault]) from cause
                columns[cause.feature][cause.row] = None
                flawed[cause.row] = True

    def _items(self, item_ids: Sequence[str], epoch: int | None, degraded: set[str]) -> tuple[EncodedItems, int]:
        slots = self._cache.find(item_ids, epoch)
        absent = np.flatnonzero(slots < 0)
        if not len(absent):
            return self._cache.gather(slots), len(slots)
        present = np.flatnonzero(slots >= 0)
        parts = [(present, self._cache.gather(slots[present]))] if len(present) else []
        parts.append((absent, self._read([item_ids[i] for i in absent.tolist()], epoch, degraded)))
        return merged(len(slots), parts), len(present)

    def _read(self, item_ids: Sequence[str], epoch: int | None, degraded: set[str]) -> EncodedItems:
        """Rows that the cache does not have; kept in it only when the store gave them."""
        rows = None
        if epoch is not None:
            try:
                rows = self._store.get_many(item_ids)
            except ItemStoreError:
                degraded.add(STORE_AWAY)
        if rows is None or epoch is None:
            return self._encoded(item_ids, [None] * len(item_ids))
        encoded = self._encoded(item_ids, rows)
        self._on_captioned([item_ids[i] for i in np.flatnonzero(encoded.captioned).tolist()])
        self._cache.put(item_ids, encoded, epoch)
        return encoded

    def _encoded(
        self,
        item_ids: Sequence[str],
        rows: Sequence[ItemRow | None],
        given: Sequence[Mapping[str, Value]] | None = None,
        where: Sequence[str] = (),
    ) -> EncodedItems:
        """Encode stored rows; `given` holds values of the request that win over the stored ones."""
        given = given or [{}] * len(rows)
        values: list[dict[str, Value]] = []
        flawed: list[bool] = []
        for item_id, row, own in zip(item_ids, rows, given, strict=True):
            kept, unfit = ({}, False) if row is None else self._fitting("item", row.features)
            values.append({**kept, **own, OWN_IDS["item"]: item_id})
            flawed.append(unfit)
        side = self._side("item", values, given, flawed, where)
        caption = self._stored_captions(rows, flawed) if self._caption is not None else None
        known = np.array([row is not None for row in rows], np.bool_)
        captioned = np.array([row is not None and row.caption is not None for row in rows], np.bool_)
        return EncodedItems(side, caption, known, captioned, np.array(flawed, np.bool_))

    def _stored_captions(self, rows: Sequence[ItemRow | None], flawed: list[bool]) -> Ints:
        tokens = self._tokens(rows)
        try:
            return self._encoder.caption(tokens)
        except FeatureValueError:  # some row holds ids that no tokenizer of this contract gives: find which
            for position, one in enumerate(tokens):
                if one is not None and not self._encodes(one):
                    tokens[position], flawed[position] = None, True
            return self._encoder.caption(tokens)

    def _encodes(self, tokens: npt.NDArray[np.int32]) -> bool:
        try:
            self._encoder.caption([tokens])
        except FeatureValueError:
            return False
        return True

    def _tokens(self, rows: Sequence[ItemRow | None]) -> list[npt.NDArray[np.int32] | None]:
        """Stored token ids; a row of another tokenizer is tokenized again from its text."""
        assert self._caption is not None, "only asked for contracts with a caption"
        digest = self._caption.tokenizer_sha256
        tokens = [None if row is None or row.caption is None else row.caption.tokens for row in rows]
        foreign = [
            (position, row.caption.text)
            for position, row in enumerate(rows)
            if row is not None and row.caption is not None and row.caption.tokenizer != digest
        ]
        for (position, _), again in zip(foreign, self._tokenized([t for _, t in foreign]), strict=True):
            tokens[position] = again
        return tokens

    def _tokenized(self, texts: list[str]) -> list[npt.NDArray[np.int32]]:
        if not texts:
            return []
        assert self._tokenizer is not None, "a contract with a caption comes with its tokenizer"
        return self._tokenizer.encode(texts)

    def _overlay(self, request: RankRequest, inline_tokens: Tokens, items: EncodedItems, degraded: set[str]) -> Bools:
        """Put what the request says of candidates over the rows; return where captions came inline."""
        inline = np.zeros(len(items), np.bool_)
        if request.features:
            self._overlay_features(request, items, degraded)
        if request.captions:
            positions = np.fromiter(request.captions, np.int64, len(request.captions))
            inline[positions] = True
            if items.caption is not None:
                items.caption[positions] = self._encoder.caption(inline_tokens)
        return inline

    def _overlay_features(self, request: RankRequest, items: EncodedItems, degraded: set[str]) -> None:
        positions = sorted(request.features)
        item_ids = [request.item_ids[i] for i in positions]
        rows: Sequence[ItemRow | None] = [None] * len(positions)
        if not _UNUSABLE & degraded:
            try:
                rows = self._store.get_many(item_ids)
            except ItemStoreError:
                degraded.add(STORE_AWAY)
        given = [request.features[i] for i in positions]
        where = [f"candidates[{i}].features" for i in positions]
        encoded = self._encoded(item_ids, rows, given, where)
        items.place(np.array(positions, np.int64), encoded)

    def _fitting(self, source: Source, stored: Mapping[str, FeatureValue]) -> tuple[dict[str, Value], bool]:
        """The stored values of features that this contract has, and whether one had to be left out as unfit."""
        kinds = self._names.kinds(source)
        found = {name: stored[name] for name in kinds if name in stored}
        fit: dict[str, Value] = {
            name: value for name, value in found.items() if kinds[name].fault(value, _STORED_TEXT_LIMIT) is None
        }
        return fit, len(fit) < len(found)

    def _tell_missing(self, item_ids: Sequence[str], captioned: Bools) -> None:
        if self._caption is not None and not captioned.all():
            self._on_missing([item_ids[i] for i in np.flatnonzero(~captioned).tolist()])
