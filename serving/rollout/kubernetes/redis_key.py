"""The assignment book in a key of Redis or Valkey, held against what was read (WATCH, MULTI, EXEC)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, urlsplit

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from serving.rollout.experiment.ports import RetryError
from serving.rollout.kubernetes.book import Page

KEY = "assignments"
"""The key after the database's prefix, as transformers read it: `sightline:assignments` without a prefix given."""
PREFIX = "sightline:"
_SECONDS = 5.0


class RedisPlace:
    """`Place` that is a key. `before_writing` raises RetryError when nothing may be changed."""

    def __init__(
        self,
        address: str,
        *,
        username: str | None = None,
        password: str | None = None,
        ca_file: str | None = None,
        before_writing: Callable[[], None] = lambda: None,
    ) -> None:
        """`address` is redis://host:port/number, or rediss:// with TLS, with ?prefix=name: if the keys have one.

        Raises ValueError for any other.
        """
        parts = urlsplit(address)
        query = parse_qs(parts.query, strict_parsing=bool(parts.query))
        if parts.scheme not in ("redis", "rediss") or not parts.hostname or parts.username or set(query) - {"prefix"}:
            raise ValueError(
                f"{parts.scheme}://{parts.hostname}: expected redis://host:port/number, rediss:// with TLS; ?prefix= "
                "is taken, user and password are settings of their own"
            )
        self._key = query.get("prefix", [PREFIX])[-1] + KEY
        self._shown = f"{parts.hostname}:{parts.port or 6379}"
        tls: dict[str, Any] = {"ssl": True, "ssl_ca_certs": ca_file} if parts.scheme == "rediss" else {}
        self._redis = redis.Redis(
            host=parts.hostname,
            port=parts.port or 6379,
            db=int(parts.path.strip("/") or 0),
            username=username,
            password=password,
            socket_timeout=_SECONDS,
            socket_connect_timeout=_SECONDS,
            decode_responses=True,
            retry=Retry(NoBackoff(), 0),  # the step is done again anyway
            protocol=2,  # as every Redis and Valkey speaks it
            **tls,
        )
        self._before_writing = before_writing

    def read(self) -> Page:
        """The key's text."""
        try:
            text = str(self._redis.get(self._key) or "")
        except redis.RedisError as error:
            raise RetryError(f"{self} cannot be read: {error}") from error
        return Page(text, text)

    def write(self, text: str, version: str) -> bool:
        """Set the key if its text is still the one that was read."""
        self._before_writing()
        try:
            with self._redis.pipeline() as pipe:
                pipe.watch(self._key)  # type: ignore[no-untyped-call]
                if str(pipe.get(self._key) or "") != version:
                    return False
                pipe.multi()
                pipe.set(self._key, text)
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
        return f"key {self._key} of Redis at {self._shown}"
