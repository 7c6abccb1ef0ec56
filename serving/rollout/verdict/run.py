"""Start the verdict service: `python -m serving.rollout.verdict.run`.

Exit codes: 0 after SIGTERM or SIGINT, 1 it cannot start, 2 unusable settings.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import signal
import sys
from collections.abc import Sequence

from prometheus_client import CollectorRegistry

from models.logs import LogsError, log_to_stderr
from serving.cluster.connection import connect
from serving.cluster.errors import ClusterError
from serving.connections import DEFAULT_CONNECTIONS
from serving.http_server import Server, server_config
from serving.rollout.verdict.app import asgi, error_json
from serving.rollout.verdict.source import ClusterExperiments

PORT = 8097
GRACE_SECONDS = 10
log = logging.getLogger("sightline.verdict")


def main(argv: Sequence[str]) -> int:
    """Serve until a signal; return the exit code."""
    try:
        log_to_stderr(os.environ)
    except LogsError as error:
        sys.stderr.write(f"the verdict service's settings cannot be used:\n{error}\n")
        return 2
    given = _options().parse_args(argv)
    try:
        cluster = connect(given.context)
    except ClusterError as error:
        log.error("the verdict service cannot start: %s", error)
        return 1
    app = asgi(ClusterExperiments(cluster), CollectorRegistry())
    config = server_config(
        app,
        error_json,
        grace_seconds=GRACE_SECONDS,
        connections=given.max_connections,
        host=given.host,
        port=given.port,
    )
    log.info("listening on %s:%d, experiments of %s", given.host, given.port, cluster.host)
    return asyncio.run(_serve(Server(config)))


def _options() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(prog="python -m serving.rollout.verdict.run", allow_abbrev=False)
    options.add_argument("--host", default="0.0.0.0", help="where it listens (default: %(default)s)")
    options.add_argument("--port", type=_port, default=PORT, help="its port (default: %(default)s)")
    options.add_argument(
        "--max-connections",
        type=_connections,
        default=DEFAULT_CONNECTIONS,
        help="connections at the same time; beyond, idle ones are closed (default: %(default)s)",
    )
    options.add_argument("--context", help="context of the kubeconfig; in a pod its service account")
    return options


def _port(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 65_535:
        raise argparse.ArgumentTypeError(f"{text!r} is no port; expected 1 to 65535")
    return int(text)


def _connections(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 100_000:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of connections; expected 1 to 100000")
    return int(text)


async def _serve(server: Server) -> int:
    loop = asyncio.get_running_loop()

    def stop() -> None:
        server.should_exit = True

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    try:
        await server.serve()
    except SystemExit:  # uvicorn's way to say that the port is taken; it has logged why
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
