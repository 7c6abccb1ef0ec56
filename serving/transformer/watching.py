"""Tasks that run beside the servers: one that ends by a fault in the code must not do so in silence."""

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any

log = logging.getLogger("sightline.transformer")


def watched(coroutine: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
    """The coroutine as a task; an error that ends it is logged."""
    task = asyncio.create_task(coroutine, name=name)
    task.add_done_callback(_tell)
    return task


def _tell(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        log.error("%s ended by an error", task.get_name(), exc_info=error)
