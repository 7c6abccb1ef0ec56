"""Exposures as entries of a Redis Stream: field `id`, and field `event` with the exposure as JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import redis

from models.items import ItemStoreError
from serving.items.redis_link import RedisAddress, RedisLink
from serving.transformer.exposures.address import WHAT
from serving.transformer.exposures.sink import Line, SinkError

TIMEOUT_SECONDS = 2.0


class StreamSink:
    """Every batch is one MULTI … EXEC: all of it is in the stream, or nothing.

    When the answer is lost a batch is written twice; readers take an id once. The server keeps about `maxlen` entries
    and drops the oldest.
    """

    def __init__(
        self,
        address: RedisAddress,
        stream: str,
        maxlen: int,
        environment: Mapping[str, str],
        timeout: float = TIMEOUT_SECONDS,
    ) -> None:
        self._address, self._stream, self._maxlen = address, stream, maxlen
        self._environment, self._timeout = environment, timeout
        self._link: RedisLink | None = None

    def write(self, batch: Sequence[Line]) -> int:
        """Add the batch in one round trip. Raises SinkError."""
        try:
            if self._link is None:
                self._link = RedisLink(self._address, self._environment, self._timeout, WHAT)
            with self._link.client() as client, client.pipeline(transaction=True) as pipeline:
                for line in batch:
                    pipeline.xadd(
                        self._stream, {"id": line.id, "event": line.body}, maxlen=self._maxlen, approximate=True
                    )
                for answer in pipeline.execute(raise_on_error=False):  # with it, the message would hold the event
                    if isinstance(answer, redis.RedisError):
                        raise answer
        except ItemStoreError as cause:
            raise SinkError(f"stream {self._stream!r}: {cause}") from cause
        return len(batch)

    def tend(self) -> None:
        """Nothing to do."""

    def close(self) -> None:
        """Close the connection."""
        if self._link is not None:
            self._link.close()
