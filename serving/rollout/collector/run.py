"""Start the collector: `python -m serving.rollout.collector.run --database FOLDER`.

Exit codes: 0 after SIGTERM or SIGINT, 1 it cannot start, 2 unusable settings.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Iterator, Sequence

import uvicorn
from prometheus_client import CollectorRegistry
from starlette.applications import Starlette

from serving.listening import bound
from serving.rollout.collector.app import asgi
from serving.rollout.collector.asking import Asking
from serving.rollout.collector.events import EventReader
from serving.rollout.collector.ledger import Ledger
from serving.rollout.collector.lock import LockedError, held
from serving.rollout.collector.metrics import Metrics
from serving.rollout.collector.retention import expire_for_ever
from serving.rollout.collector.schema import DatabaseError, open_for_writing
from serving.rollout.collector.service import Collector
from serving.rollout.collector.settings import DAY, Settings, SettingsError, read_key, read_settings, read_token
from serving.rollout.collector.writer import Writer

KEEP_ALIVE_SECONDS = 65  # longer than a proxy's idle time, or the proxy meets closed connections
log = logging.getLogger("sightline.collector")


class _Server(uvicorn.Server):
    """Uvicorn without its signal handlers, which would end the process with the signal's code and not with 0."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Signals belong to `_serve`."""
        yield


def main(argv: Sequence[str]) -> int:
    """Serve until a signal; return the exit code."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s", stream=sys.stderr)
    try:
        settings = read_settings(argv, os.environ)
        key, token = read_key(os.environ), read_token(os.environ)
    except SettingsError as error:
        sys.stderr.write(f"the collector's settings cannot be used:\n{error}\n")
        return 2
    try:
        settings.database.mkdir(parents=True, exist_ok=True)
        with held(settings.database), bound(settings.host, settings.port, "--port") as listener:
            asyncio.run(_serve(settings, key, token, listener))
    except (DatabaseError, LockedError, OSError) as error:
        log.error("the collector cannot start: %s", error)
        return 1
    return 0


async def _serve(settings: Settings, key: bytes, token: str | None, listener: socket.socket) -> None:
    metrics = Metrics(CollectorRegistry())
    connection = open_for_writing(settings.database, key)
    writer = Writer(connection, Ledger(connection, late_seconds=settings.late_seconds, now=time.time), metrics)
    seconds = settings.retention_days * DAY
    collector = Collector(
        EventReader(key, now=time.time, age=seconds, limit=settings.max_batch),
        writer,
        Asking(settings.database, settings.evidence_seconds),
        metrics,
        max_waiting=settings.max_waiting,
    )
    app = asgi(collector, metrics, token=token, max_body_bytes=settings.max_body_bytes)
    writer.start()
    tidying = asyncio.create_task(expire_for_ever(writer, metrics, seconds=seconds, now=time.time))
    log.info("listening on %s:%d, database %s", settings.host, settings.port, settings.database)
    try:
        await _until_asked_to_stop(_Server(_config(app, settings.grace_seconds)), listener)
    finally:
        tidying.cancel()
        await asyncio.gather(tidying, return_exceptions=True)
        await asyncio.to_thread(writer.stop)
    log.info("stopped; every acknowledged event is on disk")


async def _until_asked_to_stop(server: _Server, listener: socket.socket) -> None:
    """Serve; at SIGTERM or SIGINT finish running requests."""
    loop = asyncio.get_running_loop()

    def stop() -> None:
        log.info("shutting down: finishing running requests")
        server.should_exit = True

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    await server.serve(sockets=[listener])


def _config(app: Starlette, grace_seconds: float) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        http="httptools",
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=max(1, round(grace_seconds)),
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
