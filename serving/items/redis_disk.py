"""What a Redis or Valkey server keeps on its disk: its log has the commands that wrote what was deleted since."""

from __future__ import annotations

import time
from typing import Any

from redis.exceptions import NoPermissionError, ResponseError

from models.items import ItemStoreError
from serving.items.redis_link import RedisLink

_SECONDS = 300.0
_PAUSE = 0.1
_KEEPS = "the server's disk may keep what was deleted until this is run there"


def rewrite_log(link: RedisLink) -> str:
    """Have the append-only log written anew, and wait for it.

    Returns:
        What is left to do by hand; empty when nothing is.

    Raises:
        ItemStoreError: it failed, or took longer than five minutes.
    """
    with link.client() as client:
        try:
            if not int(client.info("persistence").get("aof_enabled", 0)):
                return "" if _saves_nothing(client) else f"{_KEEPS}: redis-cli SAVE"
            if not _begun(client):  # one that began before the deletion keeps what was deleted after
                _wait(link, client)
                client.bgrewriteaof()
            _wait(link, client)
        except NoPermissionError:
            return f"{_KEEPS}: redis-cli BGREWRITEAOF, by who may"
    return ""


def _begun(client: Any) -> bool:
    try:
        client.bgrewriteaof()
    except ResponseError as cause:
        if "already in progress" not in str(cause):
            raise
        return False
    return True


def _wait(link: RedisLink, client: Any) -> None:
    ends = time.monotonic() + _SECONDS
    while True:
        found = client.info("persistence")
        if not int(found["aof_rewrite_in_progress"]) and not int(found["aof_rewrite_scheduled"]):
            break
        if time.monotonic() > ends:
            raise ItemStoreError(f"{link.where}: its log is not written anew after {_SECONDS:.0f} s; run this again")
        time.sleep(_PAUSE)
    if found["aof_last_bgrewrite_status"] != "ok":
        raise ItemStoreError(f"{link.where}: its log could not be written anew; see the server's log, free space")


def _saves_nothing(client: Any) -> bool:
    """Whether the server writes no snapshots; False too where it does not tell."""
    try:
        return not client.config_get("save").get("save")
    except NoPermissionError:
        return False
