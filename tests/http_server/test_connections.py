"""Whoever opens connections and says nothing, or not all, leaves the service to the others."""

import asyncio
import contextlib
import resource
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from serving.connections import Connections, Doing, within_descriptors
from serving.http_server import HeadLimits
from tests.http_server.raw_http import ask, exchange, parts, serving
from tests.http_server.raw_http import echo as echoed

LIMIT, MANY = 100, 1200
GET = b"GET / HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n"
HALF = b"POST / HTTP/1.1\r\nHost: here\r\nContent-Length: 1000\r\n\r\nbegun"
PATIENT = HeadLimits(seconds=600)


@pytest.fixture
def many() -> Iterator[contextlib.ExitStack]:
    """For sockets of a test, more than a shell usually lets a process open."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert within_descriptors(2 * MANY) == 2 * MANY
    with contextlib.ExitStack() as held:
        yield held
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


def opened(port: int, held: contextlib.ExitStack, count: int, sends: bytes = b"") -> list[socket.socket]:
    found = []
    for _ in range(count):
        connection = held.enter_context(socket.create_connection(("127.0.0.1", port), timeout=30))
        if sends:
            with contextlib.suppress(ConnectionError):
                connection.sendall(sends)
        found.append(connection)
    return found


@pytest.mark.parametrize("sends", [b"", b"GET / HTT", HALF], ids=["nothing", "half a head", "half a body"])
def test_a_new_client_is_answered_whatever_waits_without_a_request(many: contextlib.ExitStack, sends: bytes) -> None:
    with serving(echoed, PATIENT, connections=LIMIT) as port:
        waiting = opened(port, many, MANY, sends)
        for _ in range(5):
            assert parts(exchange(port, GET))[0] == 200
        with contextlib.suppress(ConnectionError):  # what it sent was not read
            assert waiting[0].recv(100) == b"", "the one that was idle the longest was closed"
        waiting[-1].settimeout(0.2)
        with pytest.raises(TimeoutError):
            waiting[-1].recv(100)
        many.close()


def test_a_client_that_is_used_keeps_its_connection_among_idle_ones(many: contextlib.ExitStack) -> None:
    request = b"GET / HTTP/1.1\r\nHost: here\r\n\r\n"
    with (
        serving(echoed, PATIENT, connections=LIMIT) as port,
        socket.create_connection(("127.0.0.1", port), timeout=30) as mine,
    ):
        for _ in range(20):
            mine.sendall(request)
            assert mine.recv(65536).startswith(b"HTTP/1.1 200")
            opened(port, many, LIMIT // 2)
        many.close()


def test_where_all_are_being_answered_a_new_one_is_refused_in_words(many: contextlib.ExitStack) -> None:
    go, asked = threading.Event(), threading.Semaphore(0)

    async def slow(scope: Any, receive: Any, send: Any) -> None:
        asked.release()
        while not go.is_set():
            await asyncio.sleep(0.02)
        await echoed(scope, receive, send)

    with serving(slow, PATIENT, connections=5) as port:
        busy = opened(port, many, 5, GET)
        assert all(asked.acquire(timeout=30) for _ in busy)
        status, headers, body = parts(ask(port, b""))
        assert (status, headers["connection"]) == (503, "close")
        assert b"all 5 connections are being answered; try again later" in body
        go.set()
        assert all(each.recv(65536).startswith(b"HTTP/1.1 200") for each in busy), "none of theirs was ended"
        assert parts(exchange(port, GET))[0] == 200


class Ended:
    """A connection that notes its end."""

    ended = False

    def end(self) -> None:
        self.ended = True


def test_the_longest_silent_or_sending_goes_first_and_never_one_that_is_answered() -> None:
    connections = Connections(3)
    sending, answered, idle = Ended(), Ended(), Ended()
    assert all(connections.admit(each) for each in (sending, answered, idle))
    connections.note(answered, Doing.ANSWERED)
    connections.note(sending, Doing.SENDING)
    new = [Ended() for _ in range(4)]
    for each, goes in zip(new, (idle, sending, new[0]), strict=False):
        assert connections.admit(each)
        assert (goes.ended, goes in connections, answered.ended) == (True, False, False)
    for each in new[1:3]:
        connections.note(each, Doing.ANSWERED)
    assert not connections.admit(new[3])
    assert not any(each.ended for each in (answered, *new[1:]))


def test_the_limit_fits_what_the_process_may_open(caplog: pytest.LogCaptureFixture) -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (300, before[1]))
        assert within_descriptors(500) == 500
        assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == 756
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    assert not caplog.records
