"""A user's exposures in a Redis Stream."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing

from models.experiments.events import pseudonym
from models.items import ItemStoreError
from serving.forgetting.place import Found, PlaceError
from serving.items.redis_link import PASSWORD, USERNAME, RedisLink
from serving.transformer.exposures.address import WHAT, StreamAddress

SECONDS = 10.0
_PAGE = 500
_KEEPS = (
    "nobody is given them any more; their bytes, under the pseudonym, stay in the server's blocks of about a hundred "
    "entries until a whole block is gone (maxlen, XTRIM)"
)
STREAM_USERNAME, STREAM_PASSWORD = "SIGHTLINE_EXPOSURES_USERNAME", "SIGHTLINE_EXPOSURES_PASSWORD"
"""Where the stream's user is another than the item store's."""


class StreamPlace:
    """Entries are deleted one by one; who has read them already has what was read.

    XDEL marks an entry of a block as deleted: the server frees a block, in memory and on disk, when all of it is gone.
    """

    def __init__(self, address: StreamAddress, key: bytes, environ: Mapping[str, str]) -> None:
        self.name = f"exposures {address.redis} stream {address.stream}"
        self._address, self._key = address, key
        own = ((USERNAME, STREAM_USERNAME), (PASSWORD, STREAM_PASSWORD))
        self._environ = dict(environ) | {name: environ[other] for name, other in own if environ.get(other)}

    def find(self, users: Sequence[str]) -> Found:
        """How many entries there are."""
        try:
            with closing(self._link()) as link:
                return Found({WHAT: sum(len(ids) for ids in self._entries(link, users))})
        except ItemStoreError as cause:
            raise PlaceError(str(cause)) from cause

    def forget(self, users: Sequence[str]) -> Found:
        """Delete them."""
        count = 0
        try:
            with closing(self._link()) as link:
                for ids in self._entries(link, users):
                    with link.client() as client:
                        count += client.xdel(self._address.stream, *ids)
                return Found({WHAT: count}, _KEEPS if count else "")
        except ItemStoreError as cause:
            raise PlaceError(str(cause)) from cause

    def _link(self) -> RedisLink:
        return RedisLink(self._address.redis, self._environ, SECONDS, WHAT)

    def _entries(self, link: RedisLink, users: Sequence[str]) -> Iterator[list[bytes]]:
        names = [pseudonym(self._key, user).encode() for user in users]
        after = "-"
        while True:
            with link.client() as client:
                page = client.xrange(self._address.stream, min=after, count=_PAGE)
            if not page:
                return
            ids = [each for each, fields in page if any(name in fields.get(b"event", b"") for name in names)]
            if ids:
                yield ids
            after = f"({page[-1][0].decode()}"
