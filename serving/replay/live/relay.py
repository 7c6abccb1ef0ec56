"""A stretch of wire between the transformer and the collector, on which a replay sets the clock.

The transformer stamps exposures with the time of this machine; a replay lasts days in minutes. The relay takes the
transformer's batches of CloudEvents, holds them, and passes each on with the time of its visit. What a faulty logger
loses is lost here.
"""

from __future__ import annotations

import json
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

import httpx

from models.experiments.events import Exposure
from serving.stack.errors import StackError

Event = dict[str, Any]
CONTENT_TYPE = "application/cloudevents-batch+json"


class Relay:
    """Listens on loopback at `url`; a context manager."""

    def __init__(self) -> None:
        self._held: deque[Event] = deque()
        self._arrived = threading.Condition()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._thread = threading.Thread(target=self._server.serve_forever, name="relay", daemon=True)

    @property
    def url(self) -> str:
        """Where the transformer sends."""
        return f"http://127.0.0.1:{self._server.server_address[1]}/v1/exposures"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def take(self, count: int, within: float) -> list[Event]:
        """The next `count` exposures, in the order in which they came.

        Raises:
            StackError: fewer came `within` seconds.
        """
        deadline = time.monotonic() + within
        with self._arrived:
            while len(self._held) < count:
                if not self._arrived.wait(max(deadline - time.monotonic(), 0.0)) and time.monotonic() >= deadline:
                    raise StackError(f"{len(self._held)} of {count} exposures arrived within {within:.0f} s")
            return [self._held.popleft() for _ in range(count)]

    def _hold(self, events: list[Event]) -> None:
        with self._arrived:
            self._held.extend(events)
            self._arrived.notify_all()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        hold: Callable[[list[Event]], None] = self._hold

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                hold(json.loads(self.rfile.read(int(self.headers["content-length"]))))
                self.send_response(200)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:
                """No line per request."""

        return Handler


def exposures(events: Sequence[Event]) -> list[Exposure]:
    """What the events carry."""
    return [Exposure.model_validate(event["data"]) for event in events]


def pass_on(client: httpx.Client, url: str, token: str, found: Sequence[Exposure], event_type: str) -> None:
    """Send exposures to the collector as a batch of CloudEvents, with the token of exposures. Raises StackError."""
    if not found:
        return
    batch = [
        {
            "specversion": "1.0",
            "id": each.id,
            "source": "/sightline/replay",
            "type": event_type,
            "datacontenttype": "application/json",
            "data": each.model_dump(mode="json"),
        }
        for each in found
    ]
    headers = {"content-type": CONTENT_TYPE, "authorization": f"Bearer {token}"}
    answer = client.post(url, content=json.dumps(batch), headers=headers)
    if answer.status_code != httpx.codes.OK:
        raise StackError(f"POST {url}: {answer.status_code} {answer.text[:1000]}")
