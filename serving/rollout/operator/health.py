"""Probes and metrics over HTTP."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

Answer = tuple[int, str, bytes]
"""Status, content type, body."""


def probe(fault: Callable[[], str]) -> Callable[[], Answer]:
    """A probe: 200, or 503 with what is wrong."""

    def answer() -> Answer:
        told = fault()
        return (503 if told else 200), "text/plain; charset=utf-8", (told or "ok").encode() + b"\n"

    return answer


def metrics(registry: CollectorRegistry) -> Callable[[], Answer]:
    """The metrics page."""
    return lambda: (200, CONTENT_TYPE_LATEST, generate_latest(registry))


@contextmanager
def serving(host: str, port: int, pages: Mapping[str, Callable[[], Answer]]) -> Iterator[int]:
    """Serve the pages while the block runs; gives the port. Raises OSError when it is taken."""

    class Handler(BaseHTTPRequestHandler):
        timeout = 10

        def do_GET(self) -> None:
            page = pages.get(self.path.partition("?")[0])
            status, kind, body = page() if page else (404, "text/plain", b"no such page\n")
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Probes are not logged."""

    server = ThreadingHTTPServer((host, port), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, name=f"http-{port}")
    thread.start()
    try:
        yield int(server.server_address[1])
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
