"""Fetching an image by URL without becoming a door into the network that the service runs in.

Only hosts on the allow list are asked. The host is resolved here, every address it resolves to must be
public, and the connection goes to an address that was checked (a second look-up could answer differently): to the first
one that takes it.
Redirects are followed by hand, each one under the same rules. No proxy, no cookie, no compressed body.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import cached_property
from urllib.parse import urljoin

import httpx

from serving.captioner.hosts import PORTS, listed_host, netloc, url_host
from serving.captioner.refusal import ImageRefused

_MAX_REDIRECTS = 3
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_MAX_ADDRESSES = 8  # of one host
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_GLOBAL_UNICAST = ipaddress.IPv6Network("2000::/3")
# What Python 3.11 takes for global though IANA does not: protocol assignments, 6to4 relays, documentation.
_SPECIAL = [ipaddress.ip_network(network) for network in ("192.0.0.0/24", "192.88.99.0/24", "3fff::/20")]

Resolve = Callable[[str, int], Awaitable[list[str]]]


class ByteBudget:
    """The bytes that one request may still fetch, shared by its images."""

    def __init__(self, left: int) -> None:
        self.left = left

    def take(self, count: int) -> bool:
        """Take `count` bytes; False when they are no longer there."""
        self.left -= count
        return self.left >= 0


async def resolve(host: str, port: int) -> list[str]:
    """The addresses of `host`, by the system's resolver.

    Raises:
        OSError: the name has no address.
    """
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(address[4][0]) for address in found]


def is_public(address: str) -> bool:
    """Whether an IP address is public, and so is the IPv4 address it may carry (mapped, 6to4, Teredo, NAT64).

    Stricter than `is_global`, which lets pass what is in no registry of special addresses: of IPv6 only global unicast
    counts (2000::/3, RFC 4291), so that no retired way of writing an IPv4 address, site-local one or local NAT64 does.
    """
    ip = ipaddress.ip_address(address.split("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        inner = ip.ipv4_mapped or ip.sixtofour or (ip.teredo[1] if ip.teredo else None)
        if inner is None and ip in _NAT64:
            inner = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        if inner is not None:
            return is_public(str(inner))
        if ip not in _GLOBAL_UNICAST:
            return False
    special = any(ip in network for network in _SPECIAL if network.version == ip.version)
    return ip.is_global and not ip.is_multicast and not special


@dataclass(frozen=True, slots=True)
class _Target:
    """A URL that may be asked: where it leads, by the host's name in its one form."""

    url: httpx.URL
    host: str
    port: int


@dataclass(frozen=True)
class Fetcher:
    """Fetches images from allowed hosts.

    Attributes:
        hosts: `host` (at the scheme's own port) or `host:port`; capitals, a dot at the end and a scheme's own port make
            no difference, in the URL neither; empty means that nothing is fetched, None any host.
        allow_private: also from addresses that are not public.
        max_bytes: bytes of one image at most.
        timeout_s: seconds for one image, redirects included.
    """

    hosts: frozenset[str] | None
    allow_private: bool
    max_bytes: int
    timeout_s: float
    resolve: Resolve = resolve

    async def fetch(self, url: str, field: str, budget: ByteBudget) -> bytes:
        """The bytes behind `url`.

        Raises:
            ImageRefused: 400 where URLs are switched off or the URL is malformed, 413 for too many bytes, 422
                for a host that may not be asked, or that does not answer 200 in time.
        """
        if self.hosts is not None and not self.hosts:
            raise ImageRefused(
                "urls_are_off",
                400,
                field,
                "this service does not fetch images by URL: send the bytes as `data`",
            )
        try:
            async with asyncio.timeout(self.timeout_s):
                return await self._follow(url, field, budget)
        except TimeoutError as error:
            raise ImageRefused(
                "url_timeout",
                422,
                field,
                f"the URL did not deliver within {self.timeout_s:g} s: send the bytes as `data`",
            ) from error
        except (httpx.HTTPError, httpx.InvalidURL, OSError, UnicodeError) as error:
            raise ImageRefused(
                "url_failed", 422, field, f"the URL could not be fetched ({type(error).__name__}): check it"
            ) from error

    async def _follow(self, url: str, field: str, budget: ByteBudget) -> bytes:
        async with httpx.AsyncClient(trust_env=False, timeout=self.timeout_s) as client:
            for _ in range(_MAX_REDIRECTS + 1):
                answer = await self._once(client, url, field, budget)
                if isinstance(answer, bytes):
                    return answer
                url = urljoin(url, answer)
        raise ImageRefused("url_failed", 422, field, f"the URL redirects more than {_MAX_REDIRECTS} times: check it")

    async def _once(self, client: httpx.AsyncClient, url: str, field: str, budget: ByteBudget) -> bytes | str:
        """One request: the body, or the address that it redirects to."""
        target = self._checked(url, field)
        addresses = await self._addresses(target, field)
        until = asyncio.get_running_loop().time() + self.timeout_s
        for number, address in enumerate(addresses, start=1):
            # An address that answers nothing must leave time for the others.
            left = (until - asyncio.get_running_loop().time()) / (len(addresses) - number + 1)
            try:
                return await self._ask(client, target, address, max(left, 0.01), field, budget)
            except (httpx.ConnectError, httpx.ConnectTimeout):
                if number == len(addresses):
                    raise
        raise AssertionError("a host has at least one address")

    async def _ask(
        self, client: httpx.AsyncClient, target: _Target, address: str, connect_s: float, field: str, budget: ByteBudget
    ) -> bytes | str:
        headers = {
            "Host": netloc(target.host, target.port, target.url.scheme),
            "Accept": "image/*",
            "Accept-Encoding": "identity",
        }
        extensions = {"sni_hostname": target.host}
        timeout = httpx.Timeout(self.timeout_s, connect=connect_s)
        place = target.url.copy_with(host=address, port=target.port, fragment=None)
        async with client.stream("GET", place, headers=headers, extensions=extensions, timeout=timeout) as response:
            if response.status_code in _REDIRECTS:
                return str(response.headers.get("location", ""))
            if response.status_code != 200 or response.headers.get("content-encoding", "identity") != "identity":
                raise ImageRefused(
                    "url_failed",
                    422,
                    field,
                    f"the URL answered {response.status_code}: 200 with a plain body is expected",
                )
            return await self._body(response, field, budget)

    def lists(self, url: str) -> bool:
        """Whether the list of hosts names the one of `url`, however either writes it; never where there is no list."""
        try:
            return self._names(*url_host(url))
        except ValueError:
            return False

    @cached_property
    def _listed(self) -> frozenset[tuple[str, int | None]]:
        return frozenset(map(listed_host, self.hosts or ()))

    def _names(self, scheme: str, host: str, port: int) -> bool:
        return (host, port) in self._listed or (port == PORTS[scheme] and (host, None) in self._listed)

    def _checked(self, url: str, field: str) -> _Target:
        try:
            (scheme, host, port), parsed = url_host(url), httpx.URL(url)
        except (ValueError, httpx.InvalidURL) as error:
            raise ImageRefused("bad_url", 400, field, f"the URL cannot be read ({error})") from error
        if self.hosts is not None and not self._names(scheme, host, port):
            raise ImageRefused(
                "url_host_refused",
                422,
                field,
                f"{netloc(host, port, scheme)[:200]!r} is not on this service's list of hosts (url_hosts)",
            )
        return _Target(parsed, host, port)

    async def _addresses(self, target: _Target, field: str) -> list[str]:
        """The host's addresses in the resolver's order, each once; refused if any of them may not be asked."""
        addresses = list(dict.fromkeys(await self.resolve(target.host, target.port)))
        if not addresses:
            raise OSError("the name has no address")
        if not self.allow_private and not all(is_public(address) for address in addresses):
            raise ImageRefused(
                "url_host_refused", 422, field, f"{target.host[:200]!r} resolves to an address that is not public"
            )
        return addresses[:_MAX_ADDRESSES]

    async def _body(self, response: httpx.Response, field: str, budget: ByteBudget) -> bytes:
        body = bytearray()
        async for chunk in response.aiter_raw():
            body += chunk
            if len(body) > self.max_bytes:
                raise ImageRefused(
                    "image_too_large",
                    413,
                    field,
                    f"the URL delivers more than {self.max_bytes} bytes: use a smaller file",
                )
            if not budget.take(len(chunk)):
                raise ImageRefused(
                    "request_too_large",
                    413,
                    field,
                    "the request's images together have too many bytes: split the request",
                )
        return bytes(body)
