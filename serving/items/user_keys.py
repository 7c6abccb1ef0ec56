"""Under which id a user's row is stored: the id itself, or its HMAC under a key of the site, where there is one."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping

from models.items import ItemStoreError, ItemStoreOriginError, Origin

VARIABLE = "SIGHTLINE_STORE_USER_KEY"
LEAST_BYTES = 16
_FINGERPRINT = 16  # hex digits


class UserKeys:
    """Ids of users as a store has them. `fingerprint` tells two keys apart and shows neither; empty: ids in clear."""

    def __init__(self, key: bytes = b"") -> None:
        self._key = key
        self.fingerprint = hmac.digest(key, b"sightline item store", "sha256").hex()[:_FINGERPRINT] if key else ""

    def hidden(self, user_id: str) -> str:
        """The id under which the user's row is: 32 hex digits of HMAC-SHA256, or the id itself."""
        if not self._key:
            return user_id
        return hmac.new(self._key, user_id.encode(errors="surrogatepass"), hashlib.sha256).hexdigest()[:32]

    def require(self, origin: Origin | None, where: str) -> None:
        """Refuse rows whose users' ids are hidden in another way: each user would silently be unknown.

        Raises:
            ItemStoreOriginError: they are, and what to do.
        """
        found = "" if origin is None else origin.users
        if origin is not None and found != self.fingerprint:
            asked = _asked(self.fingerprint)
            raise ItemStoreOriginError(f"{where} has {_told(found)}, and this process {asked}: {_DO}")


IN_CLEAR = UserKeys()
_DO = (
    f"give it the key by which the store was filled as {VARIABLE} (none: no such variable), or fill the store again "
    "with this one (backfill replaces the users' rows)"
)


def _told(fingerprint: str) -> str:
    return f"users' ids hashed by the key with the fingerprint {fingerprint}" if fingerprint else "users' ids in clear"


def _asked(fingerprint: str) -> str:
    return f"has the key with the fingerprint {fingerprint}" if fingerprint else "has no key"


def read_user_keys(environ: Mapping[str, str]) -> UserKeys:
    """The site's key from the environment; without one ids are stored in clear.

    Raises:
        ItemStoreError: it is too short. The message never shows it.
    """
    key = environ.get(VARIABLE, "").encode()
    if key and len(key) < LEAST_BYTES:
        raise ItemStoreError(
            f"{VARIABLE}: has {len(key)} bytes; expected at least {LEAST_BYTES} (openssl rand -hex 24 makes one), or "
            "no such variable: then users' ids are stored in clear"
        )
    return UserKeys(key)
