"""A Ray of our own on this machine, started for one Serve application and ended with it."""

from __future__ import annotations

import errno
import logging
import math
import os
import secrets
import socket
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from models.logs import JSON, read_logs
from serving.captioner.proxy import CALLBACK
from serving.captioner.settings import CaptionerSettings, MachineSettings
from serving.captioner.warden import MARK, end, started, warden

if TYPE_CHECKING:
    from ray.serve import Application

logger = logging.getLogger(__name__)
FAILED, USAGE, PORT_IN_USE = 1, 2, 3
APPLICATION = "captioner"
# Ray gives its daemons 30 seconds, a number written into its code, and a busy machine may need more.
_ATTEMPTS = 3
_LOOPBACK = "127.0.0.1"
# Ray adds `/session_<date>_<pid>/sockets/plasma_store` (62 bytes) and a socket's path has at most 107.
_MAX_TEMP_DIR = 107 - 64
_RAY_ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",  # no telemetry
    "RAY_enable_metrics_collection": "0",  # nobody runs the agent that would collect them
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # a replica without a GPU keeps CUDA_VISIBLE_DEVICES as it is
    # Ray replaces 127.0.0.1 by the machine's address, unless it is told that there is no cluster: then
    # every process of it listens on the loopback address only.
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    # Ray gives its proxy three times 5 s to become ready: too little beside another build on two cores.
    "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": "60",
    **CALLBACK,
}


class StartError(Exception):
    """The service cannot start or cannot go on; `exit_code` is the process's exit code for it."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class RayDiedError(StartError):
    """Ray's daemons are gone; the process must end without asking Ray anything."""


def check_port(host: str, port: int) -> None:
    """Make sure that `host:port` can be listened on, before anything is started.

    Raises:
        StartError: it cannot; with `PORT_IN_USE` when somebody else listens there.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                advice = f"port {port} of {host} is in use: end the other server or choose another with --port"
                raise StartError(advice, PORT_IN_USE) from error
            raise StartError(f"cannot listen on {host}:{port}: {error}", FAILED) from error


@contextmanager
def ray_run(chosen: str | None) -> Iterator[Path]:
    """The folder and the environment of one Ray run; whatever runs or lies there is gone afterwards.

    Args:
        chosen: where to make the run's folder, which is kept then; without it one is made in the system's
            temporary folder and removed.

    Raises:
        StartError: the folder's path is too long for the sockets in it, or it cannot be made.
    """
    if chosen:
        folder = Path(chosen).absolute() / secrets.token_hex(4)
    else:
        folder = Path(tempfile.gettempdir()) / f"captioner-{secrets.token_hex(4)}"
    if len(os.fsencode(folder)) > _MAX_TEMP_DIR:
        raise StartError(
            f"{str(folder)!r} has more than {_MAX_TEMP_DIR} bytes, too long for the sockets in it: "
            "choose a shorter one with --temp-dir",
            USAGE,
        )
    try:
        folder.mkdir(parents=True, mode=0o700)
    except OSError as error:
        raise StartError(f"{str(folder)!r} cannot be made: {error}", USAGE) from error
    with warden(folder, remove=not chosen) as mark:
        if "ray" in sys.modules:
            raise RuntimeError("ray was imported before its environment was set: it reads it only once")
        os.environ.update(_RAY_ENVIRONMENT)
        os.environ[MARK] = mark
        # Ray would write a token into the home folder; one of this run's own needs no file.
        os.environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
        yield folder


def start_ray(machine: MachineSettings, settings: CaptionerSettings, folder: Path) -> None:
    """Start Ray with room for every replica that the settings allow, and Serve's HTTP proxy.

    Raises:
        StartError: Ray did not start.
    """
    from ray import serve

    cpus = settings.model_cpus * settings.max_replicas + settings.ingress_cpus * settings.ingress_replicas
    _init_ray(math.ceil(cpus), machine.object_store_bytes, folder)
    serve.start(
        proxy_location="HeadOnly",
        http_options={
            "host": machine.host,
            "port": machine.port,
            "ssl_certfile": None if machine.tls_certificate is None else str(machine.tls_certificate),
            "ssl_keyfile": None if machine.tls_key is None else str(machine.tls_key),
        },
        logging_config=_logging(),
    )


def _logging() -> dict[str, object]:
    """What Serve logs: warnings, or as the environment says."""
    logs = read_logs(os.environ)
    return {
        "enable_access_log": False,
        "log_level": logging.getLevelName(logs.at_least(logging.WARNING)),
        "encoding": "JSON" if logs.form == JSON else "TEXT",
    }


def _init_ray(cpus: int, object_store_bytes: int, folder: Path) -> None:
    import ray

    for attempts_left in reversed(range(_ATTEMPTS)):
        try:
            ray.init(
                address="local",
                num_cpus=cpus,
                object_store_memory=object_store_bytes,
                include_dashboard=False,
                log_to_driver=True,
                logging_level="WARNING",
                _temp_dir=str(folder),
                _node_ip_address=_LOOPBACK,
            )
            return
        except Exception as error:  # Ray raises nothing more specific when a daemon is late
            if not attempts_left:
                slow = "it gives its daemons 30 s: free some CPU, or give this process more, and start again"
                raise StartError(f"Ray did not start ({_ATTEMPTS} attempts; {slow}): {error}", FAILED) from error
            logger.warning("Ray did not start, trying again: %s", error)
            end(os.environ[MARK], folder, started(os.getpid()), frozenset({os.getpid()}))


def deploy(application: Application) -> None:
    """Run the application and return when all its replicas are up.

    Raises:
        StartError: a replica does not start; Ray has written its error to stderr.
    """
    from ray import serve

    logging.getLogger("ray.serve").setLevel(read_logs(os.environ).at_least(logging.WARNING))
    try:
        serve.run(
            application,
            name=APPLICATION,
            route_prefix="/",
            logging_config=_logging(),
        )
    except RuntimeError as error:
        raise StartError(f"the application did not start: {_reason(error)}", FAILED) from error


def _reason(error: RuntimeError) -> str:
    """The last line of what a failed deployment reports (its traceback's end), or Serve's own words."""
    from ray import serve

    application = serve.status().applications.get(APPLICATION)
    deployments = [] if application is None else list(application.deployments.values())
    failed = [deployment.message for deployment in deployments if "FAILED" in deployment.status]
    lines = [line.strip() for line in "\n".join(failed).splitlines() if line.strip()]
    return lines[-1] if lines else str(error)


def check_ray() -> None:
    """Make sure that Ray's two daemons, children of this process, still run; without them nothing works or recovers.

    Raises:
        RayDiedError: one of them has ended.
    """
    missing = {"raylet", "gcs_server"} - _running_children()
    if missing:
        raise RayDiedError(f"Ray's {' and '.join(sorted(missing))} ended unexpectedly: start the server again", FAILED)


def _running_children() -> set[str]:
    """Names of this process's children that have not ended (Linux only)."""
    names = set()
    for number in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split():
        try:
            name, state = Path(f"/proc/{number}/stat").read_text().split("(", 1)[1].rsplit(")", 1)
        except FileNotFoundError:
            continue  # it has ended since it was listed
        if state.split()[0] != "Z":
            names.add(name)
    return names


def stop_ray() -> None:
    """Drain the application and end Ray; what cannot be asked (it did not start or has died) is left to the warden."""
    if "ray.serve" not in sys.modules or not {"raylet", "gcs_server"} <= _running_children():
        return
    import ray
    from ray import serve

    if not ray.is_initialized():
        return
    try:
        serve.delete(APPLICATION)  # its replicas finish what they have begun
    finally:
        ray.shutdown()
