"""The real Triton Inference Server of the PyPI wheel `nvidia-pytriton`: its program, arguments and environment.

The wheel carries the `tritonserver` program (release 24.10) with the Python backend only. Started without
pytriton's own supervisor it needs a prepared working folder, an environment and a list of arguments; this
module gives all three and starts nothing. The container (`serving.ranker.run`) and the stack on one machine share it.

Every model of the repository is loaded at start and none later: Triton's load call takes a model's files from whoever
calls it, and runs them. Who reaches the ports can ask for scores over gRPC, health and descriptions of the models;
repository, shared memory, statistics, traces and log settings want a header that nobody has, or the one who gave
`reload_key`. So does inference over HTTP: release 24.10 ends at a body that comes in very many pieces (CVE-2025-23310
and -23311), and reads it only for a call that is let in.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import secrets
import shutil
import sys
import sysconfig
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from serving.tls import Certificate

LOOPBACK = "127.0.0.1"
_STUB = "triton_python_backend_stub"
_SHARED_MEMORY = Path("/dev/shm")
_EXPLICIT = ["--model-control-mode=explicit", "--load-model=*"]
_RESTRICTED = "model-repository,shared-memory,statistics,trace,logging"
_LOGS = {
    "debug": ["--log-verbose=1"],
    "info": [],
    "warning": ["--log-info=false"],
    "error": ["--log-info=false", "--log-warning=false"],
}
RESTRICTION_HEADER = "x-sightline-triton-key"
"""The header that opens what is restricted over HTTP; over gRPC it is `triton-grpc-protocol-` and this name."""


class TritonServerError(RuntimeError):
    """Triton of the wheel cannot be prepared, started or asked; the message says what to do."""


@dataclass(frozen=True, slots=True)
class TritonPorts:
    """The three ports of one server."""

    http: int
    grpc: int
    metrics: int


@dataclass(frozen=True, slots=True)
class TritonCommand:
    """How to start one Triton: `prepare()` once before each start, then run `argv` with `env(os.environ)`.

    `workdir` belongs to this server alone: it holds the backend folder and names the shared-memory regions.
    `connection_age_seconds` closes gRPC connections of that age after their calls, so that clients look the
    server's addresses up again; None keeps them.

    `reload_key` lets whoever has it load a version that is placed later (`POST /v2/repository/models/<name>/load` with
    RESTRICTION_HEADER). It stands in the server's arguments, which every user of the machine can read: for tests and
    simulations. None: nothing is loaded after the start, and nobody has the key.

    `inference_key`, in the same header, opens inference over HTTP to who has it, and `open_inference` to everybody.

    `certificate` and its key, PEM files, make gRPC speak TLS. HTTP cannot: health and descriptions stay as they are.

    `log_level` is a key of `models.logs.LEVELS`.
    """

    repository: Path
    http_port: int
    grpc_port: int
    metrics_port: int
    workdir: Path
    exit_timeout_seconds: int = 5
    host: str = LOOPBACK
    connection_age_seconds: int | None = None
    reload_key: str | None = None
    inference_key: str | None = None
    open_inference: bool = False
    certificate: Certificate | None = None
    log_level: str = "info"

    @property
    def ports(self) -> TritonPorts:
        return TritonPorts(self.http_port, self.grpc_port, self.metrics_port)

    @property
    def argv(self) -> list[str]:
        """All three ports are on `host`; a broken model leaves the server live but not ready."""
        key = self.reload_key or secrets.token_urlsafe(32)
        age = self.connection_age_seconds
        return [
            str(_wheel() / "bin" / "tritonserver"),
            f"--model-repository={self.repository.resolve()}",
            f"--backend-directory={self._backends}",
            f"--backend-config=python,shm-region-prefix-name={self._shared_memory_prefix}",
            *(["--model-control-mode=none"] if self.reload_key is None else _EXPLICIT),
            f"--http-restricted-api={_RESTRICTED}:{RESTRICTION_HEADER}={key}",
            *([] if self.open_inference else [self._restricted_inference]),
            f"--grpc-restricted-protocol={_RESTRICTED}:{RESTRICTION_HEADER}={key}",
            "--disable-auto-complete-config",
            "--exit-on-error=false",
            "--strict-readiness=true",
            f"--exit-timeout-secs={self.exit_timeout_seconds}",
            f"--http-address={self.host}",
            f"--http-port={self.http_port}",
            f"--grpc-address={self.host}",
            f"--grpc-port={self.grpc_port}",
            f"--metrics-address={self.host}",
            f"--metrics-port={self.metrics_port}",
            *self._grpc_tls,
            *([] if age is None else [f"--grpc-max-connection-age={age * 1000}"]),
            "--allow-gpu-metrics=false",
            "--log-format=ISO8601",
            *_LOGS[self.log_level],
        ]

    @property
    def _grpc_tls(self) -> list[str]:
        if self.certificate is None:
            return []
        shown, key = self.certificate
        return ["--grpc-use-ssl=true", f"--grpc-server-cert={shown}", f"--grpc-server-key={key}"]

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

        Raises TritonServerError when the wheel, its stub for this Python, libpython or shared memory is missing.
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
        if not os.access(_SHARED_MEMORY, os.W_OK):
            raise TritonServerError(
                f"{_SHARED_MEMORY} cannot be written, and Triton's Python backend lives on it; "
                "mount a volume in memory there (Kubernetes: emptyDir {medium: Memory})"
            )
        shutil.rmtree(self._backends, ignore_errors=True)
        target = self._backends / "python"
        shutil.copytree(wheel / "backends" / "python", target, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(stub, target / _STUB)  # a copy, not a link: Triton changes the stub's mode
        (target / _STUB).chmod(0o755)
        self.forget()

    def forget(self) -> None:
        """Remove the shared memory that a killed server of this folder left behind."""
        for region in _SHARED_MEMORY.glob(f"{self._shared_memory_prefix}*"):
            region.unlink(missing_ok=True)

    @property
    def _restricted_inference(self) -> str:
        key = self.inference_key or secrets.token_urlsafe(32)
        return f"--http-restricted-api=inference:{RESTRICTION_HEADER}={key}"

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
