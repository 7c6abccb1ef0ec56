"""Which store an address means: a folder is LMDB's, redis:// and rediss:// are Redis or Valkey."""

from collections.abc import Mapping
from pathlib import Path

from models.items import ItemStoreError
from serving.items.lmdb_store import LmdbStore
from serving.items.redis_link import RedisAddress
from serving.items.redis_store import TIMEOUT_SECONDS, RedisStore
from serving.items.user_keys import read_user_keys

SCHEMES = ("redis://", "rediss://")


def is_redis(place: str | Path) -> bool:
    """Whether the address is one of Redis or Valkey."""
    return str(place).startswith(SCHEMES)


def check_place(place: str | Path) -> None:
    """Refuse an address that cannot be one, without connecting. Raises `ItemStoreError`."""
    if is_redis(place):
        RedisAddress.parse(str(place))
    elif "://" in str(place):
        raise ItemStoreError(f"item store {place}: expected a folder, redis://host:port/number or rediss://…")


def open_store(
    place: str | Path, environ: Mapping[str, str], readonly: bool = False, timeout: float = TIMEOUT_SECONDS
) -> LmdbStore | RedisStore:
    """Open the store at `place`, making it unless `readonly`.

    Args:
        place: a folder, or redis://host:port/number (rediss:// with TLS).
        environ: has SIGHTLINE_STORE_PASSWORD, SIGHTLINE_STORE_USERNAME and SIGHTLINE_STORE_CA_FILE where Redis needs
            them, and SIGHTLINE_STORE_USER_KEY where users' ids are not to be stored in clear.
        timeout: seconds that Redis has to let in and to answer each question; a folder needs none.

    Raises:
        ItemStoreError: the address is none, or the store cannot be opened; says what to do.
    """
    check_place(place)
    if is_redis(place):
        return RedisStore.open(str(place), environ, readonly, timeout)
    return LmdbStore.open(place, readonly, user_keys=read_user_keys(environ))
