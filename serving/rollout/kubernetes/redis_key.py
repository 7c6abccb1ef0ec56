"""The assignment book in a key of Redis or Valkey, held against what was read (WATCH, MULTI, EXEC)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import redis

from serving.rollout.experiment.ports import RetryError
from serving.rollout.kubernetes.book import Page

KEY = "sightline:assignments"
_SECONDS = 5.0


class RedisPlace:
    """`Place` that is a key. `before_writing` raises RetryError when nothing may be changed."""

    def __init__(
        self, url: str, *, password: str | None = None, before_writing: Callable[[], None] = lambda: None
    ) -> None:
        given: dict[str, Any] = {"password": password} if password else {}
        self._redis = redis.Redis.from_url(
            url, socket_timeout=_SECONDS, socket_connect_timeout=_SECONDS, decode_responses=True, **given
        )
        self._shown = url.rpartition("@")[2].removeprefix("redis://").removeprefix("rediss://")
        self._before_writing = before_writing

    def read(self) -> Page:
        """The key's text."""
        try:
            text = str(self._redis.get(KEY) or "")
        except redis.RedisError as error:
            raise RetryError(f"{self} cannot be read: {error}") from error
        return Page(text, text)

    def write(self, text: str, version: str) -> bool:
        """Set the key if its text is still the one that was read."""
        self._before_writing()
        try:
            with self._redis.pipeline() as pipe:
                pipe.watch(KEY)  # type: ignore[no-untyped-call]
                if str(pipe.get(KEY) or "") != version:
                    return False
                pipe.multi()
                pipe.set(KEY, text)
                pipe.execute()
        except redis.WatchError:
            return False
        except redis.RedisError as error:
            raise RetryError(f"{self} cannot be written: {error}") from error
        return True

    def close(self) -> None:
        """Give the connections back."""
        self._redis.close()

    def __str__(self) -> str:
        return f"key {KEY} of Redis at {self._shown}"
