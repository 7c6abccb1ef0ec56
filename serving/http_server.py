"""The shell of our HTTP services: uvicorn with bounds on what comes before the application sees a request.

A request's head is bounded in bytes, fields and seconds, connections in number (`serving.connections`). Whatever is
refused here is answered in the service's own form of an error. An offer to speak another protocol (`Upgrade: h2c`, as
curl --http2 and Java's client make it) is passed over, and the request is served as the HTTP/1.1 that it is. The parser
is h11, which every image with uvicorn has, and which, unlike httptools, gives the body of such a request.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from serving.connections import DEFAULT_CONNECTIONS, Connections, Doing, within_descriptors
from serving.tls import CIPHERS, Certificate

Refusal = Callable[[int, str], bytes]
"""The body of an error, as JSON, from its status and a sentence."""
KEEP_ALIVE_SECONDS = 65  # longer than a proxy's idle time, or the proxy meets closed connections


@dataclass(frozen=True, slots=True)
class HeadLimits:
    """Of a request line and its header fields: bytes, number of fields, seconds until all have come."""

    bytes: int = 32_768
    fields: int = 100
    seconds: float = 10.0


LIMITS = HeadLimits()
_LINGER_SECONDS = 2.0
_PIECES, _PIECE_BYTES = 4096, 32
"""A body may come in so many pieces of any size; in more, if they have so many bytes on average."""


class Server(uvicorn.Server):
    """Uvicorn without its signal handlers: it would end the process with the signal's code, and not with 0."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Signals belong to whoever serves."""
        yield


def server_config(
    app: Any,
    refusal: Refusal,
    *,
    grace_seconds: float,
    limits: HeadLimits = LIMITS,
    connections: int = DEFAULT_CONNECTIONS,
    certificate: Certificate | None = None,
    **address: Any,
) -> uvicorn.Config:
    """How all services listen, with so many connections at most; `address` is uvicorn's host and port, or a socket.

    With a `certificate` and its key, PEM files, they speak TLS.
    """
    return uvicorn.Config(
        app,
        http=bounded(refusal, limits, connections),
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=max(1, round(grace_seconds)),
        ssl_certfile=certificate[0] if certificate else None,
        ssl_keyfile=certificate[1] if certificate else None,
        ssl_ciphers=CIPHERS,
        **address,
    )


def bounded(
    refusal: Refusal, limits: HeadLimits = LIMITS, connections: int = DEFAULT_CONNECTIONS
) -> type[asyncio.Protocol]:
    """A protocol for uvicorn's `http` setting; all servers that are given it share the number of connections."""
    held = Connections(within_descriptors(connections))

    class Bounded(_Bounded):
        def __init__(self, *args: Any, **settings: Any) -> None:
            super().__init__(refusal, limits, held, *args, **settings)

    return Bounded


class _Connection(h11.Connection):
    """h11 that remembers why it refused, and measures a head that came at once (h11 itself bounds incomplete ones)."""

    def __init__(self, limits: HeadLimits) -> None:
        super().__init__(h11.SERVER, limits.bytes)
        self._limits = limits
        self.refused = h11.RemoteProtocolError("invalid HTTP")
        self._pieces = self._received = 0

    def next_event(self) -> h11.Event | type[h11.NEED_DATA] | type[h11.PAUSED]:
        try:
            event = super().next_event()
            if isinstance(event, h11.Request):
                self._measure(event)
                self._pieces = self._received = 0
            elif isinstance(event, h11.Data):
                self._weigh(event)
        except h11.RemoteProtocolError as error:
            self.refused = error
            raise
        return event

    def _measure(self, head: h11.Request) -> None:
        if len(head.headers) > self._limits.fields:
            message = f"{len(head.headers)} header fields; expected at most {self._limits.fields}"
            raise h11.RemoteProtocolError(message, error_status_hint=431)
        size = len(head.method) + len(head.target) + sum(len(name) + len(value) + 4 for name, value in head.headers)
        if size > self._limits.bytes:
            message = f"{size} bytes of request line and header fields; expected at most {self._limits.bytes}"
            raise h11.RemoteProtocolError(message, error_status_hint=431)

    def _weigh(self, piece: h11.Data) -> None:
        """Every piece costs the same however small it is: a million of one byte must not be paid for."""
        self._pieces += 1
        self._received += len(piece.data)
        if self._pieces > _PIECES and self._received < self._pieces * _PIECE_BYTES:
            message = f"a body of {self._pieces} pieces with {self._received} bytes; send it in fewer, larger ones"
            raise h11.RemoteProtocolError(message, error_status_hint=400)


class _Bounded(H11Protocol):
    def __init__(self, refusal: Refusal, limits: HeadLimits, held: Connections, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self.conn: _Connection = _Connection(limits)
        self._refusal, self._limits, self._held = refusal, limits, held
        self._timer: asyncio.TimerHandle | None = None
        self._refused = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._start_timer()
        if not self._held.admit(self):
            self._refuse(503, f"all {self._held.limit} connections are being answered; try again later")

    def end(self) -> None:
        """Close now, to make room for another connection."""
        self._stop_timer()
        self.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._held.forget(self)
        self._stop_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._refused:
            return  # a connection that is closed on unread bytes is reset, and the client loses the answer
        super().data_received(data)
        self._watch()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._watch()

    def _should_upgrade(self) -> bool:
        """Never: what is offered is passed over, without a warning in the log."""
        return False

    def send_400_response(self, msg: str) -> None:
        """Uvicorn's word for a request that is no HTTP; it calls this where the parser has refused."""
        error = self.conn.refused
        if error.error_status_hint == 431 and "Receive buffer" in str(error):
            message = f"more than {self._limits.bytes} bytes of request line and header fields; send fewer"
        else:
            message = f"the request cannot be taken: {error}"
        self._refuse(error.error_status_hint, message)

    def _unfinished(self) -> bool:
        """Whether a head has begun and is not complete, or a body still comes for which there is an answer already."""
        head = self.conn.their_state is h11.IDLE and bool(self.conn.trailing_data[0])
        return head or (self.conn.their_state is h11.SEND_BODY and self.conn.our_state is h11.DONE)

    def _watch(self) -> None:
        self._note()
        if not self._unfinished():
            self._stop_timer()
        elif self._timer is None:
            self._start_timer()

    def _note(self) -> None:
        """Say what this connection does, unless it was ended."""
        if self not in self._held:
            return
        theirs = self.conn.their_state
        if self._refused or theirs is h11.IDLE:
            self._held.note(self, Doing.IDLE)
        else:
            self._held.note(self, Doing.SENDING if theirs is h11.SEND_BODY else Doing.ANSWERED)

    def _start_timer(self) -> None:
        self._timer = self.loop.call_later(self._limits.seconds, self._too_late)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _too_late(self) -> None:
        if self.conn.their_state is h11.IDLE and self.conn.trailing_data[0]:
            seconds = f"{self._limits.seconds:g} s"
            self._refuse(408, f"the header fields did not come within {seconds}; send them at once")
        else:
            self.transport.close()

    def _refuse(self, status: int, message: str) -> None:
        """Answer, and close when the client has had time to read that; where an answer has begun already, close."""
        self._stop_timer()
        self._refused = True
        if not self.transport.is_closing() and self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            body = self._refusal(status, message)
            headers = [
                ("content-type", "application/json"),
                ("content-length", str(len(body))),
                ("connection", "close"),
            ]
            answer = h11.Response(status_code=status, headers=headers, reason=HTTPStatus(status).phrase)
            for event in (answer, h11.Data(data=body), h11.EndOfMessage()):
                self.transport.write(self.conn.send(event) or b"")
            if self.transport.can_write_eof():  # TLS has no half-closed connections
                self.transport.write_eof()
            self._timer = self.loop.call_later(_LINGER_SECONDS, self.transport.close)
        else:
            self.transport.close()
