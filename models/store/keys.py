"""Keys that sign entries of the store: ed25519, in PEM files that openssl reads too (PKCS #8, SubjectPublicKeyInfo)."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from models.store.errors import ModelStoreError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

SIGNING_KEY = "SIGHTLINE_SIGNING_KEY"
"""Environment variable: the private key with which what is published is signed, as PEM text or a file's path."""
_PEM = re.compile(r"-----BEGIN ([A-Z0-9 ]+)-----.*?-----END \1-----", re.DOTALL)


def make_key(private: Path, public: Path) -> str:
    """Make a pair of keys in two new files, the private one readable by its owner alone; returns the key's id.

    Raises:
        ModelStoreError: one of the files exists, or cannot be written; neither was written then.
    """
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    key = Ed25519PrivateKey.generate()
    text = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    shown = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    _write_new(private, text, 0o600)
    try:
        _write_new(public, shown, 0o644)
    except ModelStoreError:
        private.unlink()
        raise
    return key_id(key.public_key())


def key_id(key: Ed25519PublicKey) -> str:
    """`sha256:` and the digest of the public key's DER (`openssl pkey -pubin -outform DER | sha256sum`)."""
    from cryptography.hazmat.primitives import serialization

    der = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return "sha256:" + hashlib.sha256(der).hexdigest()


def private_key(given: str, name: str) -> Ed25519PrivateKey:
    """The private key of a PEM file's path, or of PEM text; `name` is the option or variable that gave it.

    Raises:
        ModelStoreError: it cannot be read, is encrypted, or of another kind.
    """
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    try:
        key = serialization.load_pem_private_key(_text(given, name).encode(), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise ModelStoreError(
            f"{name} {_place(given)} is not a private key in PEM without a password ({error}); make one with "
            "`sightline models keygen KEY.pem`"
        ) from error
    if not isinstance(key, Ed25519PrivateKey):
        raise ModelStoreError(
            f"{name} {_place(given)} is not an ed25519 key; make one with `sightline models keygen KEY.pem`"
        )
    return key


def public_keys(given: str, name: str) -> tuple[Ed25519PublicKey, ...]:
    """The public keys of PEM text, of a PEM file, or of a folder's *.pem; one file may hold several.

    Raises:
        ModelStoreError: none is there, or something there is not a public ed25519 key.
    """
    found = [_public(block[0], block[1], given, name) for block in _PEM.finditer(_text(given, name))]
    if not found:
        raise ModelStoreError(
            f"{name} {_place(given)} holds no public key; give the *.pub.pem that "
            "`sightline models keygen KEY.pem` wrote"
        )
    return tuple(found)


def signing_key(environ: Mapping[str, str]) -> Ed25519PrivateKey | None:
    """The key of SIGHTLINE_SIGNING_KEY, None where it is not set. Raises what `private_key` does."""
    given = environ.get(SIGNING_KEY, "")
    return private_key(given, SIGNING_KEY) if given else None


def _public(block: str, kind: str, given: str, name: str) -> Ed25519PublicKey:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    try:
        key = serialization.load_pem_public_key(block.encode())
    except (ValueError, UnsupportedAlgorithm) as error:
        raise ModelStoreError(
            f"{name} {_place(given)} holds a {kind.lower()} that is not a public key ({error}); give the .pub.pem that "
            "`sightline models keygen KEY.pem` wrote, and keep the private key to yourself"
        ) from error
    if not isinstance(key, Ed25519PublicKey):
        raise ModelStoreError(
            f"{name} {_place(given)} holds a key that is not ed25519; make one with `sightline models keygen KEY.pem`"
        )
    return key


def _text(given: str, name: str) -> str:
    if "-----BEGIN" in given:
        return given
    path = Path(given)
    try:
        files = sorted(path.glob("*.pem")) if path.is_dir() else [path]
        return "\n".join(each.read_text("utf-8") for each in files)
    except (OSError, UnicodeDecodeError) as error:
        raise ModelStoreError(f"{name} {given} cannot be read ({error}); give a PEM file") from error


def _place(given: str) -> str:
    """How a message names the key: never by its text."""
    return "(its text)" if "-----BEGIN" in given else given


def _write_new(path: Path, data: bytes, mode: int) -> None:
    try:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
            file.write(data)
            os.fsync(file.fileno())
    except FileExistsError as error:
        raise ModelStoreError(f"{path} exists; a key is never overwritten: give another name") from error
    except OSError as error:
        raise ModelStoreError(f"{path} cannot be written ({error.strerror}); give a folder that can be") from error
