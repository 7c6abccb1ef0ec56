"""Whose rows a store holds: how that is written down, and who may write into it."""

import orjson

from models.items import ItemStoreError, ItemStoreOriginError, Origin

_KEPT = 100
"""Earlier digests that are remembered: models trained on older ones are then taken for another data set's."""


def encoded(origin: Origin) -> bytes:
    """The origin as JSON."""
    document = {"place": origin.place, "digest": origin.digest, "earlier": origin.earlier}
    return orjson.dumps(document | ({"users": origin.users} if origin.users else {}))


def decoded(value: bytes, where: str) -> Origin:
    """The origin of its JSON. Raises `ItemStoreError` for anything else."""
    try:
        document = orjson.loads(value)
        return Origin(document["place"], document["digest"], tuple(document["earlier"]), str(document.get("users", "")))
    except (ValueError, KeyError, TypeError) as cause:
        raise ItemStoreError(
            f"{where}: what it says of its data set cannot be read ({value[:80]!r}); caption the catalogue again"
        ) from cause


def claimed(found: Origin | None, empty: bool, mine: Origin, remedy: str, replace: bool = False) -> Origin:
    """What the store must say from now on, for `mine` to be written into it.

    Args:
        found: what it says now; `empty` says that it holds no item yet.
        remedy: the command that replaces what is there, for the message.
        replace: it may be another data set's.

    Raises:
        ItemStoreOriginError: it is another data set's, and may not be replaced.
    """
    if found is not None and (found.place == mine.place or found.includes(mine.digest)):
        before = [digest for digest in (found.digest, *found.earlier) if digest != mine.digest]
        return Origin(mine.place, mine.digest, tuple(before[:_KEPT]), mine.users)
    if replace or (found is None and empty):
        return mine
    holder = "does not say of which data set it is (an earlier version wrote it)" if found is None else f"holds {found}"
    raise ItemStoreOriginError(
        f"the item store {holder}; {mine} may have other items under the same ids, so they are not mixed. "
        f"To empty the store and fill it from {mine.place}: {remedy}"
    )
