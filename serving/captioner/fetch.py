"""Fetching an image by URL without becoming a door into the network that the service runs in.

Only hosts on the allow list are asked. The host is resolved here, every address it resolves to must be
public, and the connection goes to the address that was checked (a second look-up could answer differently).
Redirects are followed by hand, each one under the same rules. No proxy, no cookie, no compressed body.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from urllib.parse import SplitResult, urljoin, urlsplit

import httpx

from serving.captioner.refusal import ImageRefused

_PORTS = {"http": 80, "https": 443}
_MAX_REDIRECTS = 3
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")

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
    """Whether an IP address is public, and so is the IPv4 address it may carry (mapped, 6to4, NAT64)."""
    ip = ipaddress.ip_address(address.split("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        inner = ip.ipv4_mapped or ip.sixtofour or (ip.teredo[1] if ip.teredo else None)
        if inner is None and ip in _NAT64:
            inner = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        if inner is not None:
            return is_public(str(inner))
    return ip.is_global and not ip.is_multicast


@dataclass(frozen=True, slots=True)
class Fetcher:
    """Fetches images from allowed hosts.

    Attributes:
        hosts: `host` or `host:port` exactly as in the URL; empty means that nothing is fetched.
        allow_private: also from addresses that are not public.
        max_bytes: bytes of one image at most.
        timeout_s: seconds for one image, redirects included.
    """

    hosts: frozenset[str]
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
        if not self.hosts:
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
        except (httpx.HTTPError, OSError) as error:
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
        parts = self._checked(url, field)
        host = parts.hostname or ""
        address = await self._address(host, parts.port or _PORTS[parts.scheme], field)
        target = httpx.URL(url).copy_with(host=address, fragment=None)
        headers = {"Host": parts.netloc, "Accept": "image/*", "Accept-Encoding": "identity"}
        extensions = {"sni_hostname": host}
        async with client.stream("GET", target, headers=headers, extensions=extensions) as response:
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

    def _checked(self, url: str, field: str) -> SplitResult:
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError as error:
            raise ImageRefused("bad_url", 400, field, f"the URL cannot be read ({error})") from error
        if parts.scheme not in _PORTS or not parts.hostname or "@" in parts.netloc:
            raise ImageRefused(
                "bad_url",
                400,
                field,
                "expected http:// or https:// with a host and without a user name or password",
            )
        name = parts.hostname if port in (None, _PORTS[parts.scheme]) else f"{parts.hostname}:{port}"
        if name not in self.hosts:
            raise ImageRefused(
                "url_host_refused",
                422,
                field,
                f"{name[:200]!r} is not on this service's list of hosts (url_hosts)",
            )
        return parts

    async def _address(self, host: str, port: int, field: str) -> str:
        addresses = await self.resolve(host, port)
        if not self.allow_private and not all(is_public(address) for address in addresses):
            raise ImageRefused(
                "url_host_refused", 422, field, f"{host[:200]!r} resolves to an address that is not public"
            )
        return addresses[0]

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
