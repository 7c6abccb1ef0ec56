"""Servers that are spoken to byte by byte."""

import asyncio
import json
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from serving.connections import DEFAULT_CONNECTIONS
from serving.http_server import HeadLimits, Server, server_config
from serving.listening import bound


def refusal(status: int, message: str) -> bytes:
    return json.dumps({"error": message}).encode()


@contextmanager
def serving(
    app: Any,
    limits: HeadLimits,
    shape: Callable[[int, str], bytes] = refusal,
    connections: int = DEFAULT_CONNECTIONS,
) -> Iterator[int]:
    """The app behind the real server, in a thread; gives its port."""
    with bound("127.0.0.1", 0, "port") as listener:
        server = Server(server_config(app, shape, grace_seconds=1, limits=limits, connections=connections))
        thread = threading.Thread(target=lambda: asyncio.run(server.serve(sockets=[listener])))
        thread.start()
        while thread.is_alive() and not server.started:
            time.sleep(0.01)
        try:
            yield listener.getsockname()[1]
        finally:
            server.should_exit = True
            thread.join()


def exchange(port: int, *pieces: bytes) -> bytes:
    """All that comes back after these pieces have been sent, until the server closes or is silent for ten seconds."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        answer = b""
        try:
            for piece in pieces:
                connection.sendall(piece)
            while data := connection.recv(65536):
                answer += data
        except (TimeoutError, ConnectionError):
            pass
        return answer


def ask(port: int, *pieces: bytes) -> bytes:
    """The first answer to these pieces, alone; it has a Content-Length."""
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        for piece in pieces:
            connection.sendall(piece)
        answer, needed = b"", 1
        while len(answer) < needed and (data := connection.recv(65536)):
            answer += data
            head, end, _ = answer.partition(b"\r\n\r\n")
            found = re.search(rb"content-length: (\d+)", head.lower()) if end else None
            needed = len(answer) + 1 if found is None else len(head) + 4 + int(found[1])
        return answer


def parts(answer: bytes) -> tuple[int, dict[str, str], bytes]:
    """Status, header fields and body of the first answer."""
    head, _, body = answer.partition(b"\r\n\r\n")
    line, *fields = head.decode("latin1").split("\r\n")
    headers = {name.lower(): value for name, _, value in (field.partition(": ") for field in fields)}
    return int(line.split()[1]), headers, body[: int(headers.get("content-length", len(body)))]


async def echo(scope: Any, receive: Any, send: Any) -> None:
    """Answers with the body; /early answers before it has come."""
    body, more = b"", scope["path"] != "/early"
    while more:
        message = await receive()
        body, more = body + message.get("body", b""), message.get("more_body", False)
    headers = [(b"content-type", b"application/octet-stream"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})
