from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from serving.captioner.fetch import ByteBudget, Fetcher, is_public
from serving.captioner.refusal import ImageRefused
from serving.captioner.settings import SettingsError, read_settings

BODY = b"GIF89a and so on" * 100


class Site(BaseHTTPRequestHandler):
    asked: list[tuple[str, str | None]]

    def do_GET(self) -> None:
        type(self).asked.append((self.path, self.headers["Host"]))
        if self.path == "/slow":
            time.sleep(1.0)
        if self.path.startswith("/to?"):
            self.send_response(302)
            self.send_header("Location", self.path[4:])
            self.end_headers()
            return
        self.send_response(404 if self.path == "/missing" else 200)
        if self.path == "/squeezed":
            self.send_header("Content-Encoding", "gzip")
        self.end_headers()
        self.wfile.write(BODY)

    def log_message(self, format: str, *args: object) -> None:
        """No line per request."""


@pytest.fixture
def site() -> Iterator[ThreadingHTTPServer]:
    Site.asked = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), Site)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


async def to_site(host: str, port: int) -> list[str]:
    return ["127.0.0.1"]


def fetcher(site: ThreadingHTTPServer, **changes: object) -> Fetcher:
    hosts = frozenset({f"pictures.example:{site.server_port}"})
    options: dict[str, object] = {"hosts": hosts, "allow_private": True, "max_bytes": 10_000, "timeout_s": 5.0}
    return Fetcher(**(options | {"resolve": to_site} | changes))  # type: ignore[arg-type]


def address(site: ThreadingHTTPServer, path: str) -> str:
    return f"http://pictures.example:{site.server_port}{path}"


async def refusal(fetch: Fetcher, url: str, budget: int = 100_000) -> tuple[str, int]:
    with pytest.raises(ImageRefused) as caught:
        await fetch.fetch(url, "images[0].url", ByteBudget(budget))
    assert caught.value.field == "images[0].url"
    return caught.value.code, caught.value.status


async def test_an_allowed_host_is_fetched_at_the_address_that_was_checked(site: ThreadingHTTPServer) -> None:
    body = await fetcher(site).fetch(address(site, "/a.gif?x=1#part"), "url", ByteBudget(10_000))
    assert body == BODY
    assert Site.asked == [("/a.gif?x=1", f"pictures.example:{site.server_port}")]


async def test_a_private_address_is_refused_without_being_asked(site: ThreadingHTTPServer) -> None:
    assert await refusal(fetcher(site, allow_private=False), address(site, "/")) == ("url_host_refused", 422)
    assert Site.asked == []


async def test_one_private_address_among_public_ones_is_enough_to_refuse(site: ThreadingHTTPServer) -> None:
    async def both(host: str, port: int) -> list[str]:
        return ["93.184.216.34", "10.0.0.7"]

    fetch = fetcher(site, allow_private=False, resolve=both)
    assert await refusal(fetch, address(site, "/")) == ("url_host_refused", 422)


async def test_a_host_that_is_not_on_the_list_is_refused(site: ThreadingHTTPServer) -> None:
    fetch = fetcher(site)
    for url in (
        f"http://127.0.0.1:{site.server_port}/",
        f"http://other.example:{site.server_port}/",
        "http://pictures.example/",
        f"http://pictures.example.evil.example:{site.server_port}/",
    ):
        assert await refusal(fetch, url) == ("url_host_refused", 422), url
    assert Site.asked == []


@pytest.mark.parametrize(
    "url",
    [
        "",
        "file:///etc/passwd",
        "ftp://pictures.example/a",
        "pictures.example/a",
        "http://",
        "http://[::1/",
        "http://h:x/",
    ],
)
async def test_a_url_that_is_none_is_refused(site: ThreadingHTTPServer, url: str) -> None:
    assert await refusal(fetcher(site), url) == ("bad_url", 400)


async def test_a_user_name_in_the_url_is_refused(site: ThreadingHTTPServer) -> None:
    url = f"http://pictures.example:{site.server_port}@127.0.0.1/"
    assert await refusal(fetcher(site), url) == ("bad_url", 400)


async def test_a_redirect_is_followed_under_the_same_rules(site: ThreadingHTTPServer) -> None:
    fetch = fetcher(site)
    assert await fetch.fetch(address(site, "/to?/b.gif"), "url", ByteBudget(10_000)) == BODY
    elsewhere = address(site, f"/to?http://127.0.0.1:{site.server_port}/secret")
    assert await refusal(fetch, elsewhere) == ("url_host_refused", 422)
    assert await refusal(fetch, address(site, "/to?file:///etc/passwd")) == ("bad_url", 400)
    assert ("/secret", f"127.0.0.1:{site.server_port}") not in Site.asked


async def test_a_redirect_without_end_is_refused(site: ThreadingHTTPServer) -> None:
    path = "/to?" * 6
    assert await refusal(fetcher(site), address(site, path)) == ("url_failed", 422)
    assert len(Site.asked) == 4


async def test_bytes_are_counted_while_they_come(site: ThreadingHTTPServer) -> None:
    assert await refusal(fetcher(site, max_bytes=100), address(site, "/")) == ("image_too_large", 413)
    assert await refusal(fetcher(site), address(site, "/"), budget=100) == ("request_too_large", 413)


@pytest.mark.parametrize("path", ["/missing", "/squeezed"])
async def test_anything_but_a_plain_200_is_refused(site: ThreadingHTTPServer, path: str) -> None:
    assert await refusal(fetcher(site), address(site, path)) == ("url_failed", 422)


async def test_a_slow_host_is_given_up(site: ThreadingHTTPServer) -> None:
    started = asyncio.get_running_loop().time()
    assert await refusal(fetcher(site, timeout_s=0.2), address(site, "/slow")) == ("url_timeout", 422)
    assert asyncio.get_running_loop().time() - started < 0.9


async def test_a_host_that_cannot_be_resolved_or_reached_is_refused(site: ThreadingHTTPServer, free_port: int) -> None:
    async def nowhere(host: str, port: int) -> list[str]:
        raise OSError("no such name")

    assert await refusal(fetcher(site, resolve=nowhere), address(site, "/")) == ("url_failed", 422)
    closed = Fetcher(frozenset({f"h:{free_port}"}), True, 100, 5.0, to_site)
    assert await refusal(closed, f"http://h:{free_port}/") == ("url_failed", 422)


@pytest.mark.parametrize(
    "path", ["/a\nb", "/\tx", "/a b", "/\x00", "/\x7f", "/\u2028", "/\x1b[31m", "\r\nHost: other", " "]
)
async def test_a_url_with_control_characters_is_refused(site: ThreadingHTTPServer, path: str) -> None:
    assert await refusal(fetcher(site), address(site, "/") + path) == ("bad_url", 400)


async def test_a_host_that_is_no_name_is_refused(site: ThreadingHTTPServer) -> None:
    long = "a" * 70 + ".example"
    sought = Fetcher(frozenset({long}), False, 100, 1.0)
    assert await refusal(sought, f"http://{long}/") == ("bad_url", 400)


async def test_without_hosts_nothing_is_fetched() -> None:
    assert await refusal(Fetcher(frozenset(), False, 100, 1.0), "https://a.example/") == ("urls_are_off", 400)


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("93.184.216.34", True),
        ("2606:2800:220:1:248:1893:25c8:1946", True),
        ("127.0.0.1", False),
        ("10.1.2.3", False),
        ("172.16.0.1", False),
        ("192.168.1.1", False),
        ("169.254.169.254", False),
        ("100.64.0.1", False),
        ("0.0.0.0", False),
        ("224.0.0.1", False),
        ("255.255.255.255", False),
        ("::1", False),
        ("::", False),
        ("fe80::1%eth0", False),
        ("fd00::1", False),
        ("ff02::1", False),
        ("::ffff:127.0.0.1", False),
        ("::ffff:93.184.216.34", True),
        ("64:ff9b::a00:1", False),
        ("64:ff9b::5db8:d822", True),
        ("2002:7f00:1::", False),
        ("::127.0.0.1", False),
        ("::10.0.0.1", False),
        ("::8.8.8.8", False),
        ("::ffff:0:10.0.0.1", False),
        ("64:ff9b:1::a00:1", False),
        ("64:ff9b:1::1", False),
        ("fec0::1", False),
        ("3fff::1", False),
        ("5f00::1", False),
        ("4000::1", False),
        ("192.0.0.8", False),
        ("192.88.99.1", False),
        ("2606:4700::1111", True),
        ("8.8.8.8", True),
    ],
)
def test_public_addresses_are_told_from_others(address: str, public: bool) -> None:
    assert is_public(address) is public


async def test_every_address_of_a_host_is_tried_until_one_takes_the_connection(
    site: ThreadingHTTPServer, free_port: int
) -> None:
    async def several(host: str, port: int) -> list[str]:
        return ["::1", "127.0.0.2", "::1", "127.0.0.1"]  # the site listens on the last one only

    fetch = fetcher(site, resolve=several)
    assert await fetch.fetch(address(site, "/a.gif"), "url", ByteBudget(10_000)) == BODY
    assert len(Site.asked) == 1
    closed = fetcher(site, resolve=several, hosts=frozenset({f"h:{free_port}"}))
    assert await refusal(closed, f"http://h:{free_port}/") == ("url_failed", 422)


async def test_an_address_that_never_answers_leaves_time_for_the_next(site: ThreadingHTTPServer) -> None:
    with socket.socket() as silent:  # its queue is full, so that no connection to it is ever completed
        silent.bind(("127.0.0.3", site.server_port))
        silent.listen(0)
        with socket.create_connection(("127.0.0.3", site.server_port)):

            async def silent_first(host: str, port: int) -> list[str]:
                return ["127.0.0.3", "127.0.0.1"]

            fetch = fetcher(site, resolve=silent_first, timeout_s=4.0)
            assert await fetch.fetch(address(site, "/a.gif"), "url", ByteBudget(10_000)) == BODY


async def test_every_address_is_checked_before_any_is_tried(site: ThreadingHTTPServer) -> None:
    async def private_last(host: str, port: int) -> list[str]:
        return ["93.184.216.34", "2606:2800:220:1::1", "127.0.0.1"]

    assert await refusal(fetcher(site, allow_private=False, resolve=private_last), address(site, "/")) == (
        "url_host_refused",
        422,
    )
    assert Site.asked == []


async def test_a_name_without_an_address_is_refused(site: ThreadingHTTPServer) -> None:
    async def nothing(host: str, port: int) -> list[str]:
        return []

    assert await refusal(fetcher(site, resolve=nothing), address(site, "/")) == ("url_failed", 422)


@pytest.mark.parametrize("listed", ["pictures.example", "Pictures.EXAMPLE.", "PICTURES.example"])
@pytest.mark.parametrize("host", ["pictures.example", "PICTURES.Example", "pictures.example."])
async def test_capitals_and_the_roots_dot_make_no_difference(site: ThreadingHTTPServer, listed: str, host: str) -> None:
    port = site.server_port
    fetch = fetcher(site, hosts=frozenset({f"{listed}:{port}"}))
    assert await fetch.fetch(f"HTTP://{host}:{port}/a.gif", "url", ByteBudget(10_000)) == BODY
    assert Site.asked == [("/a.gif", f"pictures.example:{port}")]


@pytest.mark.parametrize(
    ("listed", "url", "allowed"),
    [
        ("pictures.example", "https://pictures.example:443/a", True),
        ("pictures.example", "http://pictures.example:80/a", True),
        ("pictures.example:443", "https://pictures.example/a", True),
        ("pictures.example:443", "http://pictures.example/a", False),
        ("pictures.example:80", "http://pictures.example/a", True),
        ("pictures.example", "https://pictures.example:8443/a", False),
        ("pictures.example", "http://pictures.example:443/a", False),
        ("bücher.example", "https://xn--bcher-kva.example/a", True),
        ("xn--bcher-kva.example", "https://BÜCHER.example/a", True),
        ("[2606:2800:220:1::1]", "https://[2606:2800:0220:0001:0:0:0:1]/a", True),
        ("pictures.example", "https://pictures.example.evil.example/a", False),
        ("pictures.example", "https://pictures.example\\@evil.example/a", False),
        ("pictures.example", "https://evil.example#pictures.example/", False),
    ],
)
async def test_a_default_port_is_the_same_as_none(
    site: ThreadingHTTPServer, listed: str, url: str, allowed: bool
) -> None:
    asked = []

    async def nowhere(host: str, port: int) -> list[str]:
        asked.append((host, port))
        return ["10.0.0.1"]

    fetch = fetcher(site, hosts=frozenset({listed}), resolve=nowhere, allow_private=False)
    code, _ = await refusal(fetch, url)
    assert code in ("url_host_refused", "bad_url")
    assert bool(asked) is allowed


@pytest.mark.parametrize(
    "entry", ["https://a.example", "a.example/pictures", "*.example", "a.example:x", "", "u@a", "a:70000"]
)
def test_a_list_of_hosts_with_anything_else_in_it_is_refused_at_the_start(entry: str) -> None:
    with pytest.raises(SettingsError, match="host or host:port"):
        read_settings({}, {"allow_urls": True, "url_hosts": ["good.example", entry]})
