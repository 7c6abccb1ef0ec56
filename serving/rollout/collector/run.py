"""Start the collector: `python -m serving.rollout.collector.run --database FOLDER`.

Exit codes: 0 after SIGTERM or SIGINT, 1 it cannot start, 2 unusable settings.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Sequence
from wsgiref.simple_server import WSGIServer

from prometheus_client import CollectorRegistry, start_http_server

from models.logs import LogsError, log_to_stderr
from serving.http_server import Server, server_config
from serving.listening import bound
from serving.rollout.collector.app import asgi, error_json
from serving.rollout.collector.asking import Asking
from serving.rollout.collector.events import EventReader
from serving.rollout.collector.ledger import Ledger
from serving.rollout.collector.lock import LockedError, held
from serving.rollout.collector.metrics import Metrics
from serving.rollout.collector.pace import Pace
from serving.rollout.collector.retention import expire_for_ever
from serving.rollout.collector.rights import Rights, read_rights
from serving.rollout.collector.schema import DatabaseError, open_for_writing
from serving.rollout.collector.service import Collector
from serving.rollout.collector.settings import DAY, Settings, SettingsError, read_key, read_settings
from serving.rollout.collector.writer import Writer

log = logging.getLogger("sightline.collector")


def main(argv: Sequence[str]) -> int:
    """Serve until a signal; return the exit code."""
    try:
        log_to_stderr(os.environ)
        settings = read_settings(argv, os.environ)
        key, rights = read_key(os.environ), read_rights(os.environ)
    except (LogsError, SettingsError) as error:
        sys.stderr.write(f"the collector's settings cannot be used:\n{error}\n")
        return 2
    try:
        settings.database.mkdir(parents=True, exist_ok=True)
        with held(settings.database), bound(settings.host, settings.port, "--port") as listener:
            asyncio.run(_serve(settings, key, rights, listener))
    except (DatabaseError, LockedError, OSError) as error:
        log.error("the collector cannot start: %s", error)
        return 1
    return 0


async def _serve(settings: Settings, key: bytes, rights: Rights, listener: socket.socket) -> None:
    metrics = Metrics(CollectorRegistry())
    connection = open_for_writing(settings.database, key)
    ledger = Ledger(connection, late_seconds=settings.late_seconds, now=time.time, names=settings.max_names)
    writer = Writer(connection, ledger, metrics)
    seconds = settings.retention_days * DAY
    collector = Collector(
        EventReader(key, now=time.time, age=seconds, limit=settings.max_batch, ranges=settings.ranges),
        writer,
        Asking(settings.database, settings.evidence_seconds),
        metrics,
        pace=Pace(settings.max_events_per_second, batch=settings.max_batch, clock=time.monotonic),
        max_waiting=settings.max_waiting,
    )
    app = asgi(collector, metrics, rights=rights, max_body_bytes=settings.max_body_bytes)
    config = server_config(
        app,
        error_json,
        grace_seconds=settings.grace_seconds,
        connections=settings.max_connections,
        certificate=settings.certificate,
    )
    pages, _ = _metrics_pages(settings, metrics)
    writer.start()
    tidying = asyncio.create_task(expire_for_ever(writer, metrics, seconds=seconds, now=time.time))
    where = (settings.host, settings.port, settings.metrics_port, settings.database)
    log.info("listening on %s:%d, metrics on :%d, database %s", *where)
    try:
        await _until_asked_to_stop(Server(config), listener)
    finally:
        await asyncio.to_thread(pages.shutdown)
        pages.server_close()
        tidying.cancel()
        await asyncio.gather(tidying, return_exceptions=True)
        await asyncio.to_thread(writer.stop)
    log.info("stopped; every acknowledged event is on disk")


def _metrics_pages(settings: Settings, metrics: Metrics) -> tuple[WSGIServer, threading.Thread]:
    """Serve the numbers, on a port of their own. Raises OSError when it is taken."""
    try:
        return start_http_server(settings.metrics_port, settings.host, metrics.registry)
    except OSError as cause:
        where = f"{settings.host}:{settings.metrics_port}"
        message = f"cannot listen on {where}: {cause.strerror}; free the port or choose another --metrics-port"
        raise OSError(message) from cause


async def _until_asked_to_stop(server: Server, listener: socket.socket) -> None:
    """Serve; at SIGTERM or SIGINT finish running requests."""
    loop = asyncio.get_running_loop()

    def stop() -> None:
        log.info("shutting down: finishing running requests")
        server.should_exit = True

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    await server.serve(sockets=[listener])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
