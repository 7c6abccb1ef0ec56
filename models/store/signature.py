"""`signature.json`: who made an entry or a bundle. It lies beside entry.json or manifest.json and signs their digests.

What is signed is a statement: the purpose, the name and number, the bundle's id and the digest of entry.json. A
signature of one entry so says nothing of another, and one of a bundle's folder nothing of an entry.
"""

from __future__ import annotations

import base64
import binascii
import json
from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from models.bundle import Manifest, Sha256, digest_of
from models.store.entry import Entry
from models.store.errors import UntrustedError
from models.store.keys import key_id

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

_CONTEXT = b"sightline statement 1\n"
"""Begins everything that is signed: a key that signs other things too never signs one of ours by accident."""


class Statement(BaseModel):
    """What a signature says: this is the bundle `name`, published as `number`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    purpose: Literal["sightline ranker bundle"] = "sightline ranker bundle"
    name: str
    number: int | None
    """None for a bundle's folder that is no entry of a store."""
    bundle: Sha256
    entry: Sha256 | None
    """sha256 of entry.json, which has the sha256 of every file of the entry; None for a bundle's folder."""

    @classmethod
    def of_entry(cls, entry: Entry) -> Self:
        """What is signed of an entry of a store."""
        return cls(name=entry.name, number=entry.number, bundle=entry.bundle, entry=digest_of(entry.to_json()))

    @classmethod
    def of_bundle(cls, manifest: bytes) -> Self:
        """What is signed of a bundle's folder; `manifest` is the text of its manifest.json."""
        name = Manifest.model_validate_json(manifest).name
        return cls(name=name, number=None, bundle=digest_of(manifest), entry=None)

    def signed(self) -> bytes:
        """The bytes that the key signs: a line of context, then the statement as JSON, keys sorted, without spaces."""
        return _CONTEXT + json.dumps(self.model_dump(), sort_keys=True, separators=(",", ":")).encode()

    def __str__(self) -> str:
        return f"{self.name}{f'/{self.number}' if self.number else ''}, bundle {self.bundle}"


class KeySignature(BaseModel):
    """The statement's signature by one key."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    key: Sha256
    """Which key: see `models.store.keys.key_id`."""
    ed25519: str
    """Base64 of its 64 bytes."""


class Signature(BaseModel):
    """The contents of signature.json. Several keys may have signed, so that one can take the place of another."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format_version: Literal[1] = 1
    statement: Statement
    signatures: Annotated[tuple[KeySignature, ...], Field(min_length=1, max_length=16)]

    def to_json(self) -> bytes:
        """The file's text."""
        return self.model_dump_json(indent=2).encode() + b"\n"

    @classmethod
    def from_json(cls, data: bytes, where: str) -> Self:
        """Read signature.json.

        Raises:
            UntrustedError: it is none of format 1.
        """
        try:
            return cls.model_validate_json(data)
        except ValidationError as error:
            raise UntrustedError(
                f"{where} is not a signature of format 1: {error}; sign anew: `sightline models sign ENTRY --key KEY`"
            ) from error

    def signed_also(self, other: Signature) -> Signature:
        """With the signatures that `other` has of the same statement by other keys."""
        if other.statement != self.statement:
            return self
        mine = {each.key for each in self.signatures}
        kept = tuple(each for each in other.signatures if each.key not in mine)
        return Signature(statement=self.statement, signatures=(*self.signatures, *kept))

    def require(self, keys: tuple[Ed25519PublicKey, ...], where: str) -> None:
        """Refuse a signature that none of `keys` made.

        Raises:
            UntrustedError: names the keys that signed and those that are trusted.
        """
        trusted = {key_id(key): key for key in keys}
        for each in self.signatures:
            if each.key in trusted and _fits(trusted[each.key], each, self.statement):
                return
        broken = [each.key for each in self.signatures if each.key in trusted]
        if broken:
            raise UntrustedError(
                f"{where}: the signature by the trusted key {broken[0]} does not fit what it signs ({self.statement}); "
                "it was changed after it was signed: publish again, or sign anew: "
                "`sightline models sign ENTRY --key KEY`"
            )
        raise UntrustedError(
            f"{where} is signed by {', '.join(each.key for each in self.signatures)}, and trusted are "
            f"{', '.join(trusted) or 'no keys'}; sign it with a trusted key, or add the public key (chart: "
            "model.trust.publicKeys)"
        )


def sign(statement: Statement, key: Ed25519PrivateKey) -> Signature:
    """The statement, signed."""
    made = base64.b64encode(key.sign(statement.signed())).decode()
    return Signature(statement=statement, signatures=(KeySignature(key=key_id(key.public_key()), ed25519=made),))


def _fits(key: Ed25519PublicKey, signature: KeySignature, statement: Statement) -> bool:
    from cryptography.exceptions import InvalidSignature

    try:
        key.verify(base64.b64decode(signature.ed25519, validate=True), statement.signed())
    except (InvalidSignature, binascii.Error, ValueError):
        return False
    return True
