"""The bytes under which a row is stored: what an id may be, the same in every store."""

from models.items import ItemRowError

MAX_ID_BYTES = 511  # LMDB's limit
_NEVER_STORED = b"\0"


def lookup_key(key: str) -> bytes:
    """Return the id's bytes; an id that cannot be stored is looked up as one that never is."""
    raw = key.encode(errors="replace")
    return raw if 0 < len(raw) <= MAX_ID_BYTES else _NEVER_STORED


def stored_key(kind: str, key: str) -> bytes:
    """Return the id's bytes; `kind` is for messages. Raises `ItemRowError` for an id that cannot be stored."""
    try:
        raw = key.encode()
    except UnicodeEncodeError as cause:
        raise ItemRowError(f"{kind} id {key!r} is not valid Unicode; replace lone surrogates") from cause
    if not 0 < len(raw) <= MAX_ID_BYTES or raw == _NEVER_STORED:
        raise ItemRowError(f"{kind} id {key[:40]!r} has {len(raw)} bytes; expected 1 to {MAX_ID_BYTES} of UTF-8")
    return raw
