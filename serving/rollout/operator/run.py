"""Start the operator: `python -m serving.rollout.operator.run --assignments configmap://shop/sightline-assignments`."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Sequence

from models.logs import LogsError, log_to_stderr
from serving.cluster.errors import ClusterError
from serving.rollout.operator.build import Built, build
from serving.rollout.operator.health import metrics, probe, serving
from serving.rollout.operator.settings import Settings, SettingsError, read_settings
from serving.rollout.operator.watch import watch

log = logging.getLogger("sightline.operator")


def main(argv: Sequence[str]) -> int:
    """Run until a signal; return the exit code: 0 after a signal, 1 if it cannot go on, 2 for wrong settings."""
    try:
        logs = log_to_stderr(os.environ)
        logging.getLogger("kopf").setLevel(logs.at_least(logging.WARNING))
        logging.getLogger("kopf._core.reactor.running").setLevel(logging.ERROR)  # it warns that signals are ours
        logging.getLogger("httpx").setLevel(logs.at_least(logging.WARNING))  # it writes a line per request
        settings = read_settings(argv, os.environ)
    except (LogsError, SettingsError) as error:
        sys.stderr.write(f"the operator's settings cannot be used:\n{error}\n")
        return 2
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    try:
        built = build(settings)
        with built.closing():
            return _serve(settings, built, stop)
    except (ClusterError, OSError, ValueError) as error:
        log.error("the operator cannot start: %s", error)
        return 1


def _serve(settings: Settings, built: Built, stop: threading.Event) -> int:
    """Run all parts until `stop`, or until one of them has died, which is a fault of ours: Kubernetes starts anew."""
    stop_leading = threading.Event()  # the lease is released after the last turn
    threads = {
        "lease": _thread(lambda: built.elector.run(stop_leading)),
        "watch": _thread(lambda: watch(built.namespaces, built.agenda.put, stop)),
        "resync": _thread(lambda: built.resync.run(stop)),
        "turns": _thread(lambda: built.dispatcher.run(stop)),
        "errands": _thread(lambda: built.errands.run(stop_leading)),
    }

    def dead() -> str:
        return ", ".join(name for name, thread in threads.items() if not thread.is_alive())

    health = {"/health/live": probe(dead), "/health/ready": probe(lambda: dead() or built.resync.fault())}
    with (
        serving(settings.host, settings.health_port, health) as health_port,
        serving(settings.host, settings.metrics_port, {"/metrics": metrics(built.registry)}) as metrics_port,
    ):
        for thread in threads.values():
            thread.start()
        where = ", ".join(built.namespaces)
        log.info("experiments of %s; probes on :%d, metrics on :%d", where, health_port, metrics_port)
        while not stop.wait(0.5) and not (died := dead()):
            built.metrics.leads(built.elector.leading())
        failed = not stop.is_set()
        if failed:
            log.error("a part of the operator has died: %s", died)
        stop.set()
        for name in ("turns", "resync", "watch"):
            threads[name].join()
        stop_leading.set()
        for name in ("lease", "errands"):
            threads[name].join()
    return 1 if failed else 0


def _thread(work: Callable[[], None]) -> threading.Thread:
    return threading.Thread(target=work, daemon=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
