"""From arguments to a finished shard: where catalogue, captioner, tokenizer, store and ledger meet."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable

from models.captioner.presets import TINY
from models.contract import CaptionTokenizer
from serving.backfill.arguments import Arguments
from serving.backfill.catalogue import Catalogue, read_catalogue, shard_of
from serving.backfill.ledger import Ledger
from serving.backfill.pictures import PictureReader
from serving.backfill.shard import Shard, Store, Tally
from serving.captioner.client import CaptionClient
from serving.items.redis_store import RedisStore
from serving.items.uri import open_store
from serving.tls import believed
from training.job_inputs import read_bytes, read_recipe
from training.recipe import CaptionSettings

Say = Callable[[str], None]


def do_shard(arguments: Arguments, tally: Tally, say: Say) -> str:
    """Do the shard; returns where its result is. `tally` is counted up meanwhile.

    Raises:
        what `serving.backfill.refusals` lists; asyncio.CancelledError: a signal came while captioning.
    """
    place = arguments.tokenizer or str(TINY / "tokenizer.json")
    tokenizer = CaptionTokenizer.from_bytes(read_bytes(place, "--tokenizer"), where=place)
    ledger = Ledger(arguments.out, arguments.shard, arguments.shards)
    catalogue = read_catalogue(arguments.data, arguments.recipe, arguments.shard, arguments.shards)
    say(f"{len(catalogue.pictures)} items in shard {arguments.shard} of {arguments.shards}")
    with open_store(arguments.store, os.environ) as store:
        shard = Shard(
            catalogue=catalogue,
            names=_names(arguments, catalogue, store),
            client=CaptionClient(arguments.captioner, patience_s=arguments.wait_seconds, verify=believed(os.environ)),
            reader=PictureReader(arguments.picture_hosts),
            tokenizer=tokenizer,
            store=store,
            ledger=ledger,
            again=arguments.again,
            replace_data=arguments.replace_data,
            remedy="the same command with --replace-data",
            batch=arguments.batch,
            wait_seconds=arguments.wait_seconds,
            max_failed_share=arguments.max_failed_share,
            max_tokens=max_tokens(arguments.recipe),
            say=say,
            tally=tally,
        )
        asyncio.run(_until_signal(shard))
    return ledger.result


def max_tokens(recipe: str | None) -> int:
    """Where training by a recipe cuts captions. Raises what `training.job_inputs.read_recipe` does."""
    return (CaptionSettings() if recipe is None else read_recipe(recipe).caption).max_tokens


def _names(arguments: Arguments, catalogue: Catalogue, store: Store) -> list[str]:
    """The items to look at: all of the shard's, or those that were missed. What nobody can caption is forgotten."""
    if not arguments.only_missing:
        return list(catalogue.pictures)
    assert isinstance(store, RedisStore), "the command line refuses another store"
    missed = [item for item in store.wanted() if shard_of(item, arguments.shards) == arguments.shard]
    store.unwant([item for item in missed if not catalogue.pictures.get(item)])
    return [item for item in missed if catalogue.pictures.get(item)]


async def _until_signal(shard: Shard) -> None:
    """Work; a signal cancels it between two awaits, and what is stored stays."""
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task is not None, "asyncio.run made a task of this"
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, task.cancel)
    await shard.work()
