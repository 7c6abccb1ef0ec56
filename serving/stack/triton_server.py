"""The Triton of the wheel (`serving.ranker.command`) on this machine: asked over HTTP, and run for a while.

A version placed later is served after `load_model`, without a restart, where the server was given a key for it.
Everything is on 127.0.0.1. `running_triton` is what tests and scripts use.
"""

from __future__ import annotations

import http.client
import json
import os
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from serving.ranker.command import RESTRICTION_HEADER, TritonCommand, TritonPorts, TritonServerError
from serving.stack.errors import NotReadyError
from serving.stack.ports import HOST
from serving.stack.service import Service
from serving.stack.supervisor import Supervisor


def ask(
    port: int,
    path: str,
    *,
    method: str = "GET",
    body: bytes | None = None,
    headers: Mapping[str, str] | None = None,
    timeout: float = 5.0,
) -> tuple[int, bytes]:
    """One HTTP request to the server's own port -> (status, body). Raises OSError when nobody answers."""
    connection = http.client.HTTPConnection(HOST, port, timeout=timeout)
    try:
        connection.request(method, path, body=body, headers=dict(headers or {}))
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def is_ready(port: int) -> bool:
    """Whether the server answers and every model in it is ready."""
    try:
        return ask(port, "/v2/health/ready")[0] == 200
    except (OSError, http.client.HTTPException):
        return False


def load_model(port: int, name: str, *, key: str, timeout: float = 60.0) -> None:
    """Load the model `name`, or its newly placed version, while the old one keeps answering.

    `key` is the `reload_key` that the server was started with.

    Raises TritonServerError with Triton's own words when it refuses; the version that served before stays.
    """
    path, headers = f"/v2/repository/models/{name}/load", {RESTRICTION_HEADER: key}
    status, body = ask(port, path, method="POST", body=b"{}", headers=headers, timeout=timeout)
    if status != 200:
        raise TritonServerError(f"Triton did not load model {name!r}: {_reason(body)}")


def _reason(body: bytes) -> str:
    try:
        return str(json.loads(body)["error"])
    except (ValueError, KeyError, TypeError):
        return body.decode("utf-8", "replace")


def free_port() -> int:
    """A loopback TCP port that nobody listens on at this moment."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


@contextmanager
def running_triton(
    repository: Path,
    workdir: Path,
    *,
    ready_within: float = 60.0,
    wait_ready: bool = True,
    reload_key: str | None = None,
    inference_key: str | None = None,
) -> Iterator[TritonPorts]:
    """A Triton on free ports for the time of a `with` block; its log is `workdir/triton.log`.

    `wait_ready=False` waits for liveness only, for repositories that hold a model meant to be refused. Triton opens its
    port of metrics after the others: it is waited for too.
    Raises TritonServerError with the end of the log when it is not there within `ready_within` seconds.
    """
    ports = free_port(), free_port(), free_port()
    command = TritonCommand(repository, *ports, workdir, reload_key=reload_key, inference_key=inference_key)
    path = "/v2/health/ready" if wait_ready else "/v2/health/live"
    service = Service(
        name="tritonserver",
        argv=tuple(command.argv),
        log=workdir / "triton.log",
        why_not_ready=lambda: _why_not(command.http_port, path) or _why_not(command.metrics_port, "/metrics"),
        env=command.env(os.environ),
        prepare=command.prepare,
        start_seconds=ready_within,
        stop_seconds=command.exit_timeout_seconds + 5,
    )
    with Supervisor() as supervisor:
        try:
            supervisor.start(service)
        except NotReadyError as error:
            raise TritonServerError(str(error)) from error
        yield command.ports


def _why_not(port: int, path: str) -> str | None:
    try:
        status, _ = ask(port, path)
    except (OSError, http.client.HTTPException) as error:
        return f"{path}: {error}"
    return None if status == 200 else f"{path}: {status}"
