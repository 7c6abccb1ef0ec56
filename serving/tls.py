"""TLS between the parts: whose certificates a caller believes, and what a server shows. TLS 1.2 or later."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from pathlib import Path

CA_FILE = "SIGHTLINE_CA_FILE"
"""Names the file of the authorities that signed the certificates of collector and captioner (https://)."""

CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"
"""Of TLS 1.2, for servers whose library would offer older ones; those of TLS 1.3 are all good."""

Certificate = tuple[Path, Path]
"""The PEM files of a certificate, with those that lead to its authority, and of its key."""

_REFUSED = ("CERTIFICATE_VERIFY_FAILED", "Hostname Verification Check failed", "Peer name")
"""How OpenSSL and gRPC say that a certificate is not believed, or is for another name."""


class TlsError(ValueError):
    """Authorities or a certificate cannot be used; the message names the setting."""


def authorities(file: Path, setting: str) -> bytes:
    """The certificates of a PEM file, of which there is at least one. Raises `TlsError`."""
    try:
        ssl.create_default_context(cafile=file)
        return file.read_bytes()
    except (OSError, ssl.SSLError) as cause:  # a missing file, and one without a certificate
        raise TlsError(f"{setting} is {file}, which has no certificate: {cause}; give a PEM file (ca.crt)") from cause


def believed(environ: Mapping[str, str]) -> ssl.SSLContext:
    """What a client of https:// believes: the authorities of SIGHTLINE_CA_FILE alone, the system's without it.

    Raises `TlsError`: the file has no certificate.
    """
    file = environ.get(CA_FILE)
    if file:
        authorities(Path(file), CA_FILE)
    return ssl.create_default_context(cafile=file or None)


def advice(failure: object, setting: str) -> str:
    """What to do about a certificate that was not believed; empty for any other failure."""
    if any(word in str(failure) for word in _REFUSED):
        return f"set {setting} to the authority that signed the server's certificate, for the name in the address"
    return ""


def shown(certificate: Path | None, key: Path | None) -> Certificate | None:
    """What a server shows, if it shows any. Raises `TlsError`: one without the other, or files that are none."""
    if certificate is None and key is None:
        return None
    if certificate is None or key is None:
        given, lacks = ("tls_key", "tls_certificate") if certificate is None else ("tls_certificate", "tls_key")
        raise TlsError(f"{given}: {lacks} is missing; a server shows a certificate that it has the key of: give both")
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key)
    except (OSError, ssl.SSLError) as cause:
        raise TlsError(
            f"tls_certificate, tls_key: {certificate} and {key} cannot be used ({cause}); give a certificate and its "
            "key as PEM, the key without a password"
        ) from cause
    return certificate, key
