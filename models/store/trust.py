"""Whom this process trusts: the keys that may have signed what it opens, and what it demands of every bundle."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from models.store.errors import ModelStoreError, UntrustedError
from models.store.keys import public_keys
from models.store.signature import Signature, Statement

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

PREFIX = "SIGHTLINE_TRUST_"
KEYS, REQUIRE = f"{PREFIX}KEYS", f"{PREFIX}REQUIRE"
"""Environment variables: public keys (PEM text, a file or a folder), and `signature`, `digest` or both, by a comma."""
SIGNED, DIGEST = "signature", "digest"
_PIN = re.compile(r"(.*)@(sha256:[0-9a-f]{64})")


@dataclass(frozen=True, slots=True)
class Trust:
    """Nothing is demanded by default; where keys are given, a signature that is there must be by one of them."""

    keys: tuple[Ed25519PublicKey, ...] = ()
    require: frozenset[str] = frozenset()

    @classmethod
    def of(cls, environ: Mapping[str, str] = os.environ) -> Self:
        """What SIGHTLINE_TRUST_KEYS and SIGHTLINE_TRUST_REQUIRE say.

        Raises:
            ModelStoreError: one of them cannot be used.
        """
        keys = public_keys(given, KEYS) if (given := environ.get(KEYS, "").strip()) else ()
        words = frozenset(word.strip() for word in environ.get(REQUIRE, "").split(",") if word.strip())
        if unknown := words - {SIGNED, DIGEST}:
            raise ModelStoreError(f"{REQUIRE} has {sorted(unknown)}; expected {SIGNED}, {DIGEST}, or both by a comma")
        if SIGNED in words and not keys:
            raise ModelStoreError(f"{REQUIRE} demands a signature, and {KEYS} is empty; give the public keys")
        return cls(keys, words)

    def check_pin(self, uri: str, pinned: str | None, bundle: str) -> None:
        """Refuse another bundle than the one that is pinned, and one without a pin where that is demanded.

        Raises:
            UntrustedError: names both digests.
        """
        if pinned is not None and pinned != bundle:
            raise UntrustedError(
                f"{uri} holds bundle {bundle}, and {pinned} is pinned; it was replaced after it was pinned, or the pin "
                "is of another: find out which, and pin what you mean to serve"
            )
        if pinned is None and DIGEST in self.require:
            raise UntrustedError(
                f"{uri} is given without a digest, and this site demands one ({REQUIRE}; chart: "
                "model.trust.requireDigest); `sightline models verify ENTRY` says it: write it behind, "
                "…/ranker/7@sha256:<64 hex digits>"
            )

    def check_signature(
        self, where: str, statement: Statement, signature: bytes | None, *, fetched: bool = False
    ) -> None:
        """Refuse what nobody trusted has signed, or has signed as something else.

        Args:
            where: the place of the signature, for messages.
            statement: what a signature must say.
            signature: the text of signature.json; None where there is none.
            fetched: whether this is a folder of this machine, where also the signature of the entry that it was fetched
                from is taken: it names the same bundle.

        Raises:
            UntrustedError: in words.
        """
        if signature is None:
            if SIGNED in self.require:
                raise UntrustedError(
                    f"{where} is missing: bundle {statement.bundle} is not signed, and this site demands a signature "
                    f"({REQUIRE}; chart: model.trust.required); whoever made it signs it: "
                    "`sightline models sign ENTRY --key KEY`"
                )
            return
        if not self.keys:
            return
        found = Signature.from_json(signature, where)
        same = found.statement == statement
        if fetched and found.statement.entry is not None:
            same = found.statement.bundle == statement.bundle
        if not same:
            raise UntrustedError(
                f"{where} is a signature of {found.statement}, and beside it lies {statement}; it was moved here, or "
                "what it signed was replaced: publish again, or sign anew with `sightline models sign ENTRY --key KEY`"
            )
        found.require(self.keys, where)


def unpinned(uri: str) -> tuple[str, str | None]:
    """A path or URI without the digest behind it, and the digest: `s3://bucket/models/ranker/7@sha256:…`.

    Raises:
        ModelStoreError: there is `@sha256:` and not 64 hexadecimal digits behind it.
    """
    match = _PIN.fullmatch(uri)
    if match is not None:
        return match[1], match[2]
    if "@sha256:" in uri:
        raise ModelStoreError(f"{uri}: expected @sha256: and 64 hexadecimal digits (0-9, a-f) at its end, or no digest")
    return uri, None
