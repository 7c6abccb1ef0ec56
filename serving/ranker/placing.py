"""What Triton will serve, made ready before it starts: bundles checked and placed in a repository of our own."""

from __future__ import annotations

import shutil
import socket
from pathlib import Path

from models.store.fetch import read_signed
from models.triton.config import TritonSettings
from models.triton.repository import place_model
from serving.ranker.settings import ENVIRONMENT_PREFIX, Settings

_MARK = ".sightline-ranker"
_VARIABLE = f"{ENVIRONMENT_PREFIX}FORCE=true"


class StartError(RuntimeError):
    """The ranker cannot start; the message says why and what to do."""


class PortInUseError(StartError):
    """Another process listens where Triton would."""


def require_ports(settings: Settings) -> None:
    """Refuse a port that is taken: Triton would end with a message that names no setting.

    Raises:
        PortInUseError: names the port's setting.
        StartError: `host` is no address of this machine.
    """
    for name, port in settings.ports.items():
        try:
            family, kind, _, _, address = socket.getaddrinfo(settings.host, port, type=socket.SOCK_STREAM)[0]
        except OSError as error:
            raise StartError(f"host is {settings.host!r}, which is no address: {error.strerror}") from error
        with socket.socket(family, kind) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(address)
            except OSError as error:
                option = f"--{name.replace('_', '-')}"
                raise PortInUseError(
                    f"{settings.host} port {port} cannot be listened on ({error.strerror}); "
                    f"stop the program that has it, or choose another: {option}"
                ) from error


def repository(settings: Settings) -> Path:
    """The repository that Triton gets: the one that was given, or a new one with every bundle placed in it.

    Claims the working folder in both cases.

    Raises:
        StartError: the repository is not one, or the working folder is somebody else's.
        models.bundle.BundleError: a bundle is missing, incomplete or changed, or must not be served (UnfitError).
        models.store.errors.UntrustedError: a bundle is not signed as the environment demands.
    """
    work_dir = _own(settings.work_dir)
    if settings.repository is not None:
        return _given(settings.repository)
    folder = work_dir / "repository"
    shutil.rmtree(folder, ignore_errors=True)  # a container that is started again finds its earlier run's
    triton = TritonSettings(
        instances=settings.instances, intra_op_threads=settings.intra_op_threads, device=settings.device
    )
    for name, path in settings.bundles.items():
        bundle = read_signed(path)
        bundle.require_fit(settings.force, f"serve it all the same: --force true, or {_VARIABLE} (chart: model.force)")
        place_model(folder, name, bundle, platform="python", settings=triton)
    return folder


def _given(folder: Path) -> Path:
    if not folder.is_dir():
        raise StartError(f"repository {folder} is not a folder; mount a Triton repository there")
    if not any(folder.glob("*/config.pbtxt")):
        raise StartError(
            f"repository {folder} has no <model>/config.pbtxt; give the folder that holds the models' folders, "
            "or a bundle with --bundle"
        )
    return folder


def _own(folder: Path) -> Path:
    """The working folder, once it is known to be ours to clear."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()) and not (folder / _MARK).exists():
            raise StartError(f"work_dir {folder} holds files of somebody else; choose another folder: --work-dir")
        (folder / _MARK).touch()
    except OSError as error:
        raise StartError(
            f"work_dir {folder} cannot be written ({error.strerror}); mount a volume there, or choose another: "
            "--work-dir"
        ) from error
    return folder
