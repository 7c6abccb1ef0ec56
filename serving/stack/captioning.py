"""The captioning step on one machine: a backfill of one shard, whose results training reads."""

import asyncio
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from models.captioner.presets import TINY
from models.contract import CaptionTokenizer
from models.items import StoredCaption
from serving.backfill.catalogue import Catalogue
from serving.backfill.ledger import Ledger
from serving.backfill.pictures import PictureReader
from serving.backfill.shard import Shard, Tally
from serving.captioner.client import CaptionClient
from serving.items.lmdb_store import LmdbStore
from serving.items.user_keys import read_user_keys
from serving.stack.layout import Layout
from serving.tls import believed
from training.recipe import CaptionSettings

_BATCH = 64  # items read and captioned at a time: an interrupted run keeps what it has
_WAIT_SECONDS = 60.0


@dataclass(frozen=True)
class Captioned:
    """What a captioning run did: captions by item as the store has them, what was counted, and where failures are."""

    captions: Mapping[str, StoredCaption]
    tally: Tally
    failures: str

    @property
    def refused(self) -> Mapping[str, str]:
        """Why items with a picture got no caption."""
        return self.tally.failed


def tokenizer() -> CaptionTokenizer:
    """The caption tokenizer of this machine's contracts: the tiny captioner's."""
    return CaptionTokenizer.from_file(TINY / "tokenizer.json")


def caption_catalogue(
    layout: Layout,
    catalogue: Catalogue,
    url: str,
    progress: Callable[[int, int], None],
    *,
    picture_hosts: frozenset[str] = frozenset(),
    replace_data: bool = False,
    remedy: str = "",
) -> Captioned:
    """Have the captioner at `url` caption what is new or changed, and write every item and user into the store.

    Args:
        progress: called with (items done, items in all).
        picture_hosts: of `listed_hosts`; may be asked for pictures although their address is private.
        replace_data: the store may hold another data set, which is removed; `remedy` is the command that says so.

    Raises:
        CaptionerUnreachableError, ItemStoreError: what is captioned stays, the next run goes on.
        ItemStoreOriginError: the store holds another data set.
    """
    ledger, tally = Ledger(str(layout.captions), catalogue.shard, catalogue.shards), Tally()
    with LmdbStore.open(layout.store, user_keys=read_user_keys(os.environ)) as store:
        shard = Shard(
            catalogue=catalogue,
            names=list(catalogue.pictures),
            client=CaptionClient(url, verify=believed(os.environ)),
            reader=PictureReader(picture_hosts),
            tokenizer=tokenizer(),
            store=store,
            ledger=ledger,
            again=False,
            replace_data=replace_data,
            remedy=remedy,
            batch=_BATCH,
            wait_seconds=_WAIT_SECONDS,
            max_failed_share=1.0,
            max_tokens=CaptionSettings().max_tokens,
            say=lambda text: None,
            tally=tally,
            progress=progress,
        )
        asyncio.run(shard.work())
        captions = {row.item_id: row.caption for row in store.items() if row.caption is not None}
    return Captioned(captions, tally, ledger.failed)
