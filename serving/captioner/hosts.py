"""Names of hosts as URLs and lists write them, brought into one form."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from urllib.parse import urlsplit

PORTS = {"http": 80, "https": 443}
"""The schemes that are fetched, with the port of a URL that has none."""


def host_name(name: str) -> str:
    """Lower case, without the root's dot, international names in their ASCII form; an IPv6 address in its short form.

    Raises:
        ValueError: it cannot be the name of a host.
    """
    bare = name.lower().removesuffix(".")
    if ":" in bare:
        return str(ipaddress.IPv6Address(bare))
    try:
        return bare.encode("idna").decode("ascii")
    except UnicodeError as error:
        raise ValueError(f"{name[:200]!r} is not the name of a host ({error})") from error


def listed_host(entry: str) -> tuple[str, int | None]:
    """An entry of a list of hosts: `host`, `host:port` or `[IPv6 address]:port`; the port is None where it has none.

    Raises:
        ValueError: it is something else, such as a URL or a pattern.
    """
    parts = urlsplit(f"//{entry}")
    try:
        port, host = parts.port, host_name(parts.hostname or "")
    except ValueError as error:
        raise ValueError(f"{entry!r} is not a host or host:port ({error})") from error
    if not host or parts.netloc != entry or "@" in entry or "*" in entry or "//" in entry:
        raise ValueError(f"{entry!r} is not a host or host:port: give each host by its name, without scheme and path")
    return host, port


def listed_hosts(given: Iterable[str]) -> frozenset[str]:
    """The entries of lists that are separated by commas or white space, each checked by `listed_host`.

    Raises:
        ValueError: an entry cannot be read; names it.
    """
    entries = frozenset(entry for text in given for entry in re.split(r"[,\s]+", text) if entry)
    for entry in sorted(entries):
        listed_host(entry)
    return entries


def url_host(url: str) -> tuple[str, str, int]:
    """Scheme, host in its one form and port of an http or https URL.

    Raises:
        ValueError: it is not one that may be fetched; says what was expected.
    """
    if not url.isprintable() or " " in url:  # urlsplit would drop line breaks in silence
        raise ValueError("it holds a space or a control character")
    parts = urlsplit(url)
    scheme, host = parts.scheme.lower(), host_name(parts.hostname or "")
    if scheme not in PORTS or not host or "@" in parts.netloc:
        raise ValueError("expected http:// or https:// with a host and without a user name or password")
    return scheme, host, PORTS[scheme] if parts.port is None else parts.port


def netloc(host: str, port: int, scheme: str) -> str:
    """`host` and `port` as a Host header has them: without the scheme's own port, an IPv6 address in brackets."""
    name = f"[{host}]" if ":" in host else host
    return name if port == PORTS[scheme] else f"{name}:{port}"
