"""Deletes what is older than the retention, a little at a time, so that events are taken meanwhile."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from functools import partial

from serving.rollout.collector.faults import StoreError
from serving.rollout.collector.ledger import Ledger
from serving.rollout.collector.metrics import Metrics
from serving.rollout.collector.writer import Writer

log = logging.getLogger("sightline.collector")
ROWS = 2000
"""Events of each kind deleted in one transaction."""
PAUSE_SECONDS = 0.05
"""Between two such transactions."""
CHECK_SECONDS = 60.0


async def expire_for_ever(writer: Writer, metrics: Metrics, *, seconds: float, now: Callable[[], float]) -> None:
    """Look once a minute for events that arrived more than `seconds` ago, and delete them. Ends when cancelled."""
    while True:
        try:
            await expire(writer, metrics, before=now() - seconds)
        except StoreError as error:
            log.warning("old events are not deleted now, and will be later: %s", error)
        await asyncio.sleep(CHECK_SECONDS)


async def expire(writer: Writer, metrics: Metrics, *, before: float) -> int:
    """Delete all events that arrived before a time; how many those were. Raises StoreError."""
    total = 0
    while True:
        gone = await writer.run(partial(Ledger.expire, before=before, limit=ROWS))
        total += gone.exposures + gone.outcomes
        metrics.deleted.labels("retention").inc(gone.exposures + gone.outcomes)
        if not gone.exposures + gone.outcomes:
            return total
        await asyncio.sleep(PAUSE_SECONDS)
