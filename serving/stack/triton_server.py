"""The real Triton Inference Server on one machine, from the PyPI wheel `nvidia-pytriton`.

The wheel carries the `tritonserver` program (release 24.10) with the Python backend only. Started without
pytriton's own supervisor it needs a prepared working folder, an environment and a list of arguments; this
module gives all three and starts nothing by itself, except in `running_triton`, which tests and scripts use.

Model control is explicit: every model of the repository is loaded at start, and a version placed later is
served after `load_model` (Triton's own `POST /v2/repository/models/<name>/load`), without a restart.
"""

from __future__ import annotations

import hashlib
import http.client
import importlib.util
import json
import os
import shutil
import socket
import sys
import sysconfig
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from serving.stack.errors import NotReadyError
from serving.stack.ports import HOST
from serving.stack.service import Service
from serving.stack.supervisor import Supervisor

_STUB = "triton_python_backend_stub"
_SHARED_MEMORY = Path("/dev/shm")


class TritonServerError(RuntimeError):
    """The local Triton cannot be prepared, started or asked; the message says what to do."""


@dataclass(frozen=True, slots=True)
class TritonPorts:
    """The three ports of one server, all on 127.0.0.1."""

    http: int
    grpc: int
    metrics: int


@dataclass(frozen=True, slots=True)
class TritonCommand:
    """How to start one local Triton: `prepare()` once before each start, then run `argv` with `env(os.environ)`.

    `workdir` belongs to this server alone: it holds the backend folder and names the shared-memory regions.
    """

    repository: Path
    http_port: int
    grpc_port: int
    metrics_port: int
    workdir: Path
    exit_timeout_seconds: int = 5

    @property
    def ports(self) -> TritonPorts:
        return TritonPorts(self.http_port, self.grpc_port, self.metrics_port)

    @property
    def argv(self) -> list[str]:
        """Every address is loopback; a broken model leaves the server live but not ready."""
        return [
            str(_wheel() / "bin" / "tritonserver"),
            f"--model-repository={self.repository.resolve()}",
            f"--backend-directory={self._backends}",
            f"--backend-config=python,shm-region-prefix-name={self._shared_memory_prefix}",
            "--model-control-mode=explicit",
            "--load-model=*",
            "--disable-auto-complete-config",
            "--exit-on-error=false",
            "--strict-readiness=true",
            f"--exit-timeout-secs={self.exit_timeout_seconds}",
            f"--http-address={HOST}",
            f"--http-port={self.http_port}",
            f"--grpc-address={HOST}",
            f"--grpc-port={self.grpc_port}",
            f"--metrics-address={HOST}",
            f"--metrics-port={self.metrics_port}",
            "--allow-gpu-metrics=false",
            "--log-format=ISO8601",
        ]

    def env(self, base: Mapping[str, str]) -> dict[str, str]:
        """`base` with the libraries and the Python that Triton's stub process needs.

        The base Python's own library folder comes first: without it the wheel's bundled libpython is found,
        loading a Python model hangs and SIGTERM does not end the server.
        """
        libraries = [str(_python_library_folder()), str(_wheel().parent.parent / "nvidia_pytriton.libs")]
        if base.get("LD_LIBRARY_PATH"):
            libraries.append(base["LD_LIBRARY_PATH"])
        binaries = str(Path(sys.prefix) / "bin")
        return {
            **base,
            "LD_LIBRARY_PATH": ":".join(libraries),
            "PATH": f"{binaries}:{base.get('PATH', os.defpath)}",
            "VIRTUAL_ENV": sys.prefix,
        }

    def prepare(self) -> None:
        """Build the working folder anew and drop what a killed server of the same folder left behind.

        Raises TritonServerError when the wheel, its stub for this Python or libpython is missing.
        """
        wheel = _wheel()
        stub = wheel / "python_backend_stubs" / _python_version() / _STUB
        if not stub.is_file():
            raise TritonServerError(
                f"nvidia-pytriton has no Python backend for Python {_python_version()} (no {stub}); use Python 3.11"
            )
        _python_library_folder()
        if not self.repository.is_dir():
            raise TritonServerError(f"model repository {self.repository} is not a folder; place a model in it first")
        shutil.rmtree(self._backends, ignore_errors=True)
        target = self._backends / "python"
        shutil.copytree(wheel / "backends" / "python", target, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(stub, target / _STUB)  # a copy, not a link: Triton changes the stub's mode
        (target / _STUB).chmod(0o755)
        for region in _SHARED_MEMORY.glob(f"{self._shared_memory_prefix}*"):
            region.unlink(missing_ok=True)

    @property
    def _backends(self) -> Path:
        return self.workdir.resolve() / "backends"

    @property
    def _shared_memory_prefix(self) -> str:
        return "sightline-" + hashlib.sha256(str(self.workdir.resolve()).encode()).hexdigest()[:12] + "-"


def _python_version() -> str:
    return f"{sys.version_info.major}.{sys.version_info.minor}"


def _wheel() -> Path:
    found = importlib.util.find_spec("pytriton")  # the package itself is not imported: its import is slow
    if found is None or found.origin is None:
        raise TritonServerError("the package nvidia-pytriton is not installed; run `make setup`")
    return Path(found.origin).parent / "tritonserver"


def _python_library_folder() -> Path:
    """The folder of this Python's shared library, which Triton's stub process is linked against."""
    name = f"libpython{_python_version()}.so.1.0"
    multiarch = sysconfig.get_config_var("MULTIARCH") or ""
    folders = [
        sysconfig.get_config_var("LIBDIR"),
        Path(sys.base_prefix) / "lib",
        f"/usr/lib/{multiarch}",
        "/usr/lib",
    ]
    for folder in folders:
        if folder and (Path(folder) / name).is_file():
            return Path(folder)
    raise TritonServerError(
        f"Triton's Python backend needs {name}, which {sys.base_prefix} does not have "
        f"(looked in {', '.join(str(folder) for folder in folders if folder)}); "
        "use a Python with a shared library (pyenv: PYTHON_CONFIGURE_OPTS=--enable-shared pyenv install; "
        f"Debian: apt-get install libpython{_python_version()}; the Pythons of uv have one)"
    )


def ask(
    port: int, path: str, *, method: str = "GET", body: bytes | None = None, timeout: float = 5.0
) -> tuple[int, bytes]:
    """One HTTP request to the server's own port -> (status, body). Raises OSError when nobody answers."""
    connection = http.client.HTTPConnection(HOST, port, timeout=timeout)
    try:
        connection.request(method, path, body=body)
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


def load_model(port: int, name: str, *, timeout: float = 60.0) -> None:
    """Load the model `name`, or its newly placed version, while the old one keeps answering.

    Raises TritonServerError with Triton's own words when it refuses; the version that served before stays.
    """
    status, body = ask(port, f"/v2/repository/models/{name}/load", method="POST", body=b"{}", timeout=timeout)
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
    repository: Path, workdir: Path, *, ready_within: float = 60.0, wait_ready: bool = True
) -> Iterator[TritonPorts]:
    """A Triton on free ports for the time of a `with` block; its log is `workdir/triton.log`.

    `wait_ready=False` waits for liveness only, for repositories that hold a model meant to be refused.
    Raises TritonServerError with the end of the log when it is not there within `ready_within` seconds.
    """
    command = TritonCommand(repository, free_port(), free_port(), free_port(), workdir)
    path = "/v2/health/ready" if wait_ready else "/v2/health/live"
    service = Service(
        name="tritonserver",
        argv=tuple(command.argv),
        log=workdir / "triton.log",
        why_not_ready=lambda: _why_not(command.http_port, path),
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
