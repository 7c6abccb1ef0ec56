"""What the shell of all services does before an application sees a request."""

import json
import socket

import pytest

from tests.http_server.raw_http import exchange, parts

UPGRADES = {
    "curl --http2": b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQCAAAA\r\n",
    "Java": b"Connection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAEAAEAA\r\nUpgrade: h2c\r\nUser-Agent: Java\r\n",
    "lower case": b"connection: upgrade\r\nupgrade: H2C\r\n",
    "a WebSocket": b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n",
    "TLS": b"Connection: Upgrade\r\nUpgrade: TLS/1.0\r\n",
    "no Connection": b"Upgrade: h2c\r\n",
}


def post(body: bytes, fields: bytes = b"", path: bytes = b"/") -> bytes:
    return b"POST %b HTTP/1.1\r\nHost: here\r\n%bContent-Length: %d\r\n\r\n" % (path, fields, len(body)) + body


@pytest.mark.parametrize("offer", UPGRADES.values(), ids=UPGRADES)
@pytest.mark.parametrize("cut", [0, 40, -3, None])
def test_an_offer_to_upgrade_is_passed_over_and_the_body_arrives(port: int, offer: bytes, cut: int | None) -> None:
    request = post(b"the whole body", offer)
    pieces = [request] if cut is None else [request[:cut], request[cut:]]
    closing = post(b"and the next", b"Connection: close\r\n")
    answer = exchange(port, *pieces, closing)
    status, _, body = parts(answer)
    assert (status, body) == (200, b"the whole body")
    assert answer.endswith(b"\r\n\r\nand the next"), "the connection serves on"
    assert answer.count(b"HTTP/1.1 200") == 2


def test_an_offer_to_upgrade_with_a_chunked_body_is_served(port: int) -> None:
    fields = b"Connection: Upgrade\r\nUpgrade: h2c\r\nTransfer-Encoding: chunked\r\n"
    request = b"POST / HTTP/1.1\r\nHost: here\r\n" + fields + b"\r\n5\r\nwhole\r\n0\r\n\r\n"
    assert b"whole" in exchange(port, request, b"GET / HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n")


REFUSED = {
    "a long field": (post(b"", b"X: " + b"a" * 5000 + b"\r\n"), 431, "4096"),
    "a long target": (b"GET /" + b"a" * 5000 + b" HTTP/1.1\r\nHost: here\r\n\r\n", 431, "4096"),
    "no end of line": (b"a" * 5000, 431, "4096"),
    "many fields": (post(b"", b"A: b\r\n" * 30), 431, "32 header fields; expected at most 20"),
    "no HTTP": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400, "cannot be taken"),
    "words": (b"hello there\r\n\r\n", 400, "cannot be taken"),
    "HTTP/3.x": (b"GET / HTTP/x\r\nHost: here\r\n\r\n", 400, "cannot be taken"),
    "a length that is none": (
        b"POST / HTTP/1.1\r\nHost: here\r\nContent-Length: many\r\n\r\n",
        400,
        "bad Content-Length",
    ),
    "a negative length": (b"POST / HTTP/1.1\r\nHost: here\r\nContent-Length: -1\r\n\r\n", 400, "bad Content-Length"),
    "two lengths": (
        b"POST / HTTP/1.1\r\nHost: here\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        400,
        "conflicting Content-Length",
    ),
    "no host": (b"GET / HTTP/1.1\r\n\r\n", 400, "Missing mandatory Host"),
    "an unknown coding": (b"POST / HTTP/1.1\r\nHost: here\r\nTransfer-Encoding: gzip\r\n\r\n", 501, "chunked"),
    "a field without a name": (b"GET / HTTP/1.1\r\nHost: here\r\n: x\r\n\r\n", 400, "illegal header line"),
    "a field with a NUL": (b"GET / HTTP/1.1\r\nHost: here\r\nA: \0\r\n\r\n", 400, "illegal header line"),
    "a chunk without a size": (
        b"POST / HTTP/1.1\r\nHost: here\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        400,
        "illegal chunk header",
    ),
}


@pytest.mark.parametrize(("request_", "status", "says"), REFUSED.values(), ids=REFUSED)
def test_what_is_no_request_is_answered_in_the_services_own_form(
    port: int, request_: bytes, status: int, says: str
) -> None:
    found, headers, body = parts(exchange(port, request_))
    assert (found, headers["content-type"], headers["connection"]) == (status, "application/json", "close")
    assert says in json.loads(body)["error"]


@pytest.mark.parametrize("beginning", [b"G", b"GET / HTTP/1.1\r\n", b"GET / HTTP/1.1\r\nHost: here\r\nX: "])
def test_a_head_that_does_not_come_is_408(port: int, beginning: bytes) -> None:
    status, headers, body = parts(exchange(port, beginning))
    assert (status, headers["content-type"]) == (408, "application/json")
    assert "did not come within 0.3 s" in json.loads(body)["error"]


def test_a_head_that_drips_is_not_waited_for_longer(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.settimeout(0.05)
        answer = b""
        for number in range(200):
            try:
                connection.sendall(
                    b"GET / HTTP/1.1\r\nHost: here\r\n" if not number else b"A: b\r\n"[number % 6 : number % 6 + 1]
                )
                answer += connection.recv(65536)
            except TimeoutError:
                continue
            except ConnectionError:
                break
            if answer:
                break
    assert parts(answer)[0] == 408


def test_a_second_request_on_the_connection_is_bounded_too(port: int) -> None:
    answer = exchange(port, post(b"one"), b"GET / HTTP/1.1\r\nHo")
    assert answer.startswith(b"HTTP/1.1 200")
    assert b"HTTP/1.1 408" in answer


def test_a_connection_on_which_nothing_comes_is_closed_without_a_word(port: int) -> None:
    assert exchange(port) == b""


def test_a_body_that_still_comes_after_its_answer_is_not_waited_for(port: int) -> None:
    request = b"POST /early HTTP/1.1\r\nHost: here\r\nContent-Length: 1000\r\n\r\n"
    answer = exchange(port, request, b"a", b"b")
    assert answer.startswith(b"HTTP/1.1 200")


def test_a_body_may_take_longer_than_a_head(port: int) -> None:
    request = post(b"slow but whole", b"Connection: close\r\n")
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(request[:-5])
        connection.settimeout(0.8)
        with pytest.raises(TimeoutError):
            connection.recv(1)
        connection.settimeout(10)
        connection.sendall(request[-5:])
        answer = b""
        while data := connection.recv(65536):
            answer += data
    assert parts(answer)[2] == b"slow but whole"


def test_a_body_in_a_million_small_pieces_is_refused_and_large_pieces_are_not(port: int) -> None:
    head = b"POST / HTTP/1.1\r\nHost: here\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
    status, _, body = parts(exchange(port, head, b"1\r\nx\r\n" * 1_000_000))
    assert status == 400
    assert "a body of 4097 pieces with 4097 bytes; send it in fewer, larger ones" in json.loads(body)["error"]
    whole = b"40\r\n" + b"x" * 64 + b"\r\n"
    status, _, body = parts(exchange(port, head, whole * 5000, b"0\r\n\r\n"))
    assert (status, len(body)) == (200, 320_000)
