"""Start the verdict service: `python -m serving.rollout.verdict.run`.

Exit codes: 0 after SIGTERM or SIGINT, 1 it cannot start, 2 unusable settings.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import signal
import sys
from collections.abc import Iterator, Sequence

import uvicorn
from prometheus_client import CollectorRegistry

from serving.cluster.connection import connect
from serving.cluster.errors import ClusterError
from serving.rollout.verdict.app import asgi
from serving.rollout.verdict.source import ClusterExperiments

PORT = 8097
GRACE_SECONDS = 10
log = logging.getLogger("sightline.verdict")


class _Server(uvicorn.Server):
    """Uvicorn without its signal handlers, which would end the process with the signal's code and not with 0."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Signals belong to `_serve`."""
        yield


def main(argv: Sequence[str]) -> int:
    """Serve until a signal; return the exit code."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s", stream=sys.stderr)
    given = _options().parse_args(argv)
    try:
        cluster = connect(given.context)
    except ClusterError as error:
        log.error("the verdict service cannot start: %s", error)
        return 1
    app = asgi(ClusterExperiments(cluster), CollectorRegistry())
    config = uvicorn.Config(
        app,
        host=given.host,
        port=given.port,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=GRACE_SECONDS,
    )
    log.info("listening on %s:%d, experiments of %s", given.host, given.port, cluster.host)
    return asyncio.run(_serve(_Server(config)))


def _options() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(prog="python -m serving.rollout.verdict.run", allow_abbrev=False)
    options.add_argument("--host", default="0.0.0.0", help="where it listens (default: %(default)s)")
    options.add_argument("--port", type=_port, default=PORT, help="its port (default: %(default)s)")
    options.add_argument("--context", help="context of the kubeconfig; in a pod its service account")
    return options


def _port(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 65_535:
        raise argparse.ArgumentTypeError(f"{text!r} is no port; expected 1 to 65535")
    return int(text)


async def _serve(server: _Server) -> int:
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
