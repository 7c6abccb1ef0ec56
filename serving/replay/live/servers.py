"""The servers of a story told for real: Tritons, transformers and a collector, all on loopback."""

from __future__ import annotations

import os
import secrets
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from models.bundle import Bundle
from models.experiments.events import KEY_VARIABLE
from models.triton.repository import place_model
from serving.ranker.command import TritonCommand
from serving.replay.terms import MODEL
from serving.rollout.collector.rights import Right
from serving.stack.ports import HOST
from serving.stack.service import Service
from serving.stack.services import answers
from serving.stack.triton_server import free_port

KEY = "the replay's users are made up"
"""Of pseudonyms: nobody is to be protected here."""
CANDIDATE_SECONDS = 4.0


@dataclass(frozen=True, slots=True)
class Triton:
    """A Triton that serves one bundle under the model's name."""

    service: Service
    repository: Path
    http_port: int
    grpc_port: int
    key: str
    """Loads the version that a promotion places, and opens inference over HTTP."""


@dataclass(frozen=True, slots=True)
class Transformer:
    """A transformer in front of a Triton."""

    service: Service
    http_port: int

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://{HOST}:{self.http_port}"


@dataclass(frozen=True, slots=True)
class Collector:
    """A collector of exposures and outcomes."""

    service: Service
    url: str
    tokens: Mapping[str, str]
    """By right: each sender has its own."""


def triton(folder: Path, name: str, bundle: Bundle) -> Triton:
    """A Triton for the bundle; its repository is made in `folder`."""
    repository = folder / name / "repository"
    place_model(repository, MODEL, bundle, platform="python")
    key = secrets.token_urlsafe(32)
    ports, work = (free_port(), free_port(), free_port()), folder / name / "work"
    command = TritonCommand(repository, *ports, work, reload_key=key, inference_key=key)
    ready = f"http://{HOST}:{command.http_port}/v2/models/{MODEL}/ready"
    service = Service(
        name=name,
        argv=tuple(command.argv),
        log=folder / f"{name}.log",
        why_not_ready=answers(ready),
        env=command.env(os.environ),
        prepare=command.prepare,
    )
    return Triton(service, repository, command.http_port, command.grpc_port, key)


def transformer(folder: Path, name: str, bundle: Bundle, triton_port: int, exposures: str) -> Transformer:
    """A transformer for the bundle; it watches `folder`/book.json and reads items from `folder`/store."""
    http_port, grpc_port = free_port(), free_port()
    settings: Mapping[str, object] = {
        "model_name": MODEL,
        "bundle": bundle.path,
        "store": folder / "store",
        "predictor_host": f"{HOST}:{triton_port}",
        "host": HOST,
        "http_port": http_port,
        "grpc_port": grpc_port,
        "handshake_seconds": 0.5,
        "assignments": folder / "book.json",
        "assignment_seconds": 0.2,
        "candidate_timeout_seconds": CANDIDATE_SECONDS,
        "predictor_request_timeout_seconds": 2 * CANDIDATE_SECONDS,
        "exposures": exposures,
    }
    argv = [sys.executable, "-m", "serving.transformer.run"]
    service = Service(
        name=name,
        argv=(*argv, *(part for key, value in settings.items() for part in (f"--{key}", str(value)))),
        log=folder / f"{name}.log",
        why_not_ready=answers(f"http://{HOST}:{http_port}/v2/health/ready"),
        env={KEY_VARIABLE: KEY},
    )
    return Transformer(service, http_port)


def collector(folder: Path) -> Collector:
    """A collector with its database in `folder`, and tokens made for this run."""
    port = free_port()
    settings = {"database": folder / "collector", "host": HOST, "port": port, "metrics-port": free_port()}
    settings["retention-days"] = 3650
    settings["max-events-per-second"] = 1_000_000  # months are replayed in minutes
    tokens = {right: secrets.token_urlsafe(32) for right in ("outcomes", "exposures", "evidence")}
    argv = [sys.executable, "-m", "serving.rollout.collector.run"]
    service = Service(
        name="collector",
        argv=(*argv, *(part for key, value in settings.items() for part in (f"--{key}", str(value)))),
        log=folder / "collector.log",
        why_not_ready=answers(f"http://{HOST}:{port}/health/ready"),
        env={KEY_VARIABLE: KEY} | {Right(right).variable: token for right, token in tokens.items()},
    )
    return Collector(service, f"http://{HOST}:{port}", tokens)
