"""The work on one shard: pictures to captions, captions to the item store, and a result that training reads."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from models.contract import CaptionTokenizer
from models.contract.cuts import CaptionCuts, caption_cuts
from models.items import ItemRow, Origin, StoredCaption, UserRow
from serving.backfill.captioner import wait_for_captioner
from serving.backfill.catalogue import Catalogue
from serving.backfill.errors import BackfillError
from serving.backfill.ledger import Ledger, Record
from serving.backfill.pictures import Picture, PictureReader
from serving.captioner.client import CaptionClient
from serving.items.lmdb_store import LmdbStore
from serving.items.origin import claimed
from serving.items.redis_store import RedisStore

Store = LmdbStore | RedisStore
_SHOWN = 3


@dataclass
class Tally:
    """What was done so far: items looked at, captions made and found made before, items without a picture, failures."""

    items: int = 0
    captioned: int = 0
    kept: int = 0
    without_picture: int = 0
    failed: dict[str, str] = field(default_factory=dict)
    cuts: CaptionCuts | None = None
    """Of the finished shard's captions, what the recipe's max_tokens leaves."""

    @property
    def pictures(self) -> int:
        """Items with a picture."""
        return self.items - self.without_picture

    def counts(self) -> dict[str, int]:
        """The counts by name."""
        counted = {"items": self.items, "captioned": self.captioned, "kept": self.kept}
        return {**counted, "without_picture": self.without_picture, "failed": len(self.failed)}

    def __str__(self) -> str:
        return ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in self.counts().items())


@dataclass(frozen=True)
class Shard:
    """What a shard's work needs.

    Attributes:
        names: the items to look at, of the catalogue's.
        batch: items per step; a kill loses one step.
        wait_seconds: how long the captioner may be away, at the start and in between.
        max_tokens: where training will cut captions.
        tally: is counted up while the work goes on; `progress` then hears (items looked at, items in all).
        replace_data: the store may hold another data set, whose rows are removed; `remedy` is the command that says so.
    """

    catalogue: Catalogue
    names: Sequence[str]
    client: CaptionClient
    reader: PictureReader
    tokenizer: CaptionTokenizer
    store: Store
    ledger: Ledger
    again: bool
    replace_data: bool
    remedy: str
    batch: int
    wait_seconds: float
    max_failed_share: float
    max_tokens: int
    say: Callable[[str], None]
    tally: Tally
    progress: Callable[[int, int], None] = lambda done, of: None

    async def work(self) -> None:
        """Do it, from where an earlier run was interrupted.

        Raises:
            BackfillError: too many pictures have no caption; or what the parts raise.
            ItemStoreOriginError: the store holds another data set; nothing was captioned or written.
            CaptionerUnreachableError, ItemStoreError: what is stored stays, the next run goes on.
        """
        origin, found = self.catalogue.origin, self.store.origin()
        mine = claimed(found, not self.store.count(), origin, self.remedy, self.replace_data)
        mine = replace(mine, users=self._users_key(found))
        made = await wait_for_captioner(self.client, self.wait_seconds, self.say)
        records = self.ledger.known(self.again)
        if self.replace_data:
            self._remove_others(found is not None and (found.place == origin.place or found.includes(origin.digest)))
        if mine != found:
            self._drop_users_under_another_key(found, mine)
            self.store.set_origin(mine)
        if self.catalogue.users:
            self.store.put_users(UserRow(user, values) for user, values in self.catalogue.users.items())
        steps = [self.names[at : at + self.batch] for at in range(0, len(self.names), self.batch)]
        reading = asyncio.create_task(self._read(steps[0] if steps else ()))
        try:
            for number, step in enumerate(steps, start=1):
                pictures = await reading
                reading = asyncio.create_task(self._read(steps[number] if number < len(steps) else ()))
                await self._step(step, pictures, records, made)
                self.say(f"step {number} of {len(steps)}: {self.tally}")
                self.progress(self.tally.items, len(self.names))
        finally:
            reading.cancel()
        self._finish(records, made)

    async def _read(self, step: Sequence[str]) -> dict[str, Picture]:
        """The step's pictures; read while the one before is captioned."""
        return await self.reader.read_many({item: place for item in step if (place := self.catalogue.pictures[item])})

    def _remove_others(self, same: bool) -> None:
        """Remove the rows that are not of this data: all that this shard may, if the store was another data set's."""
        others = [
            row.item_id
            for row in self.store.items()
            if self.catalogue.owns(row.item_id) and (row.item_id not in self.catalogue.pictures or not same)
        ]
        self.store.remove_many(others)
        if self.catalogue.shard == 0:
            kept = {self.store.user_keys.hidden(user) for user in self.catalogue.users}
            self.store.remove_stored_users([user for user in self.store.user_ids() if user not in kept])

    def _users_key(self, found: Origin | None) -> str:
        """Fingerprint of the key that hides users' ids: the first shard writes the users, and says so."""
        if self.catalogue.shard == 0:
            return self.store.user_keys.fingerprint
        return "" if found is None else found.users

    def _drop_users_under_another_key(self, found: Origin | None, mine: Origin) -> None:
        """Rows that nobody would find any more, and that would keep ids in clear where they are to be hidden."""
        if found is not None and found.users != mine.users:
            self.store.remove_stored_users(list(self.store.user_ids()))

    async def _step(
        self, step: Sequence[str], pictures: Mapping[str, Picture], records: dict[str, Record], made: tuple[str, str]
    ) -> None:
        self._settle(step, pictures, records)
        wanted = []
        for item, picture in pictures.items():
            known = records.get(item)
            if picture.failure is not None:
                self._failed(item, picture.failure)
            elif known and known.caption is not None and known.made == (*made, picture.sha256):
                self.tally.kept += 1
            else:
                wanted.append((item, picture.data))
        new = await self._captioned(wanted, pictures)
        if new:
            self.ledger.step(new.values())  # before the store: who is killed here only writes the rows again
        records.update(new)
        self._write(step, pictures, records)
        self.tally.items += len(step)
        self.tally.without_picture += len(step) - len(pictures)

    def _settle(self, step: Sequence[str], pictures: Mapping[str, Picture], records: dict[str, Record]) -> None:
        """Forget captions of other pictures than the items have now; note where the same picture is now."""
        for item in step:
            known = records.get(item)
            if known and not self._counts(known, pictures.get(item)):
                del records[item]
            elif known and known.place != self.catalogue.pictures[item]:
                records[item] = replace(known, place=self.catalogue.pictures[item] or "")

    def _counts(self, known: Record, picture: Picture | None) -> bool:
        """Whether a caption is of the picture that its item has now; one that cannot be read now is taken for the one
        that was read at that place.
        """
        if picture is None:
            return False
        if picture.failure is not None:
            return known.place == self.catalogue.pictures[known.item_id]
        return known.image == picture.sha256

    async def _captioned(
        self, wanted: Sequence[tuple[str, bytes]], pictures: Mapping[str, Picture]
    ) -> dict[str, Record]:
        new = {}
        for result in await self.client.caption_async(wanted) if wanted else ():
            if result.text is None:
                reason = f"{result.error.code}: {result.error.message}" if result.error else "no caption came back"
                self._failed(result.id, reason)
                continue
            image, place = pictures[result.id].sha256, self.catalogue.pictures[result.id] or ""
            new[result.id] = Record(result.id, result.text, result.captioner, result.prompt, image, place)
        self.tally.captioned += len(new)
        return new

    def _write(self, step: Sequence[str], pictures: Mapping[str, Picture], records: Mapping[str, Record]) -> None:
        """Write the rows that differ from those in the store: every item has one, with a caption or without."""
        captions = stored_captions([records[item] for item in step if item in records], self.tokenizer)
        changed = []
        for item, row in zip(step, self.store.get_many(step), strict=True):
            caption = captions.get(item) or self._kept(row, pictures.get(item))
            wanted = ItemRow(item, caption, self.catalogue.features[item])
            if row != wanted:
                changed.append(wanted)
        if changed:
            self.store.put_many(changed)

    def _kept(self, row: ItemRow | None, picture: Picture | None) -> StoredCaption | None:
        """The caption in the store, if it is of the item's picture; of one that cannot be read it is believed to be."""
        if row is None or row.caption is None or picture is None:
            return None
        return row.caption if picture.failure is not None or row.caption.image == picture.sha256 else None

    def _failed(self, item: str, reason: str) -> None:
        self.tally.failed[item] = reason
        if len(self.tally.failed) <= _SHOWN:
            self.say(f"item {item!r}: {reason}")

    def _finish(self, records: Mapping[str, Record], made: tuple[str, str]) -> None:
        failed, pictures = self.tally.failed, self.tally.pictures
        listed = self.ledger.failures(failed)
        if len(failed) > self.max_failed_share * pictures:
            shown = "; ".join(f"{item!r}: {reason}" for item, reason in list(failed.items())[:_SHOWN])
            raise BackfillError(
                f"{len(failed)} of {pictures} pictures have no caption, more than the share {self.max_failed_share:g} "
                f"(--max-failed-share): {shown}; all are listed in {listed}"
            )
        nothing = (Record(item, None, *made, "") for item in failed if item not in records)
        mine = (record for item, record in records.items() if item in self.catalogue.pictures)
        self.ledger.finish([*mine, *nothing])
        texts = [record.caption for record in records.values() if record.caption is not None]
        cuts = caption_cuts(self.tokenizer.encode_rows(texts), self.max_tokens, self.tokenizer.word_starts())
        self.tally.cuts = cuts
        self.say(f"warning: {cuts.warning()}" if cuts.loud else str(cuts))


def stored_captions(records: Sequence[Record], tokenizer: CaptionTokenizer) -> dict[str, StoredCaption]:
    """The captions among the records with their token ids (int32, untruncated), by item id."""
    texts = [(record, record.caption) for record in records if record.caption is not None]
    tokens = tokenizer.encode([text for _, text in texts])
    return {
        record.item_id: StoredCaption(
            text, np.asarray(ids, np.int32), tokenizer.sha256, record.captioner, record.prompt, record.image
        )
        for (record, text), ids in zip(texts, tokens, strict=True)
    }
