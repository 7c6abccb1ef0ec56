"""The settings of the ranker's container, from arguments and environment."""

from argparse import ArgumentParser
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, SecretStr, model_validator

from models.local_path import LocalPath
from serving.arguments import SettingsError, parser_of, read
from serving.tls import Certificate, shown

__all__ = ["ENVIRONMENT_PREFIX", "Settings", "SettingsError", "read_settings"]

ENVIRONMENT_PREFIX = "SIGHTLINE_RANKER_"
Port = Annotated[int, Field(ge=1, le=65535)]
ModelName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.\-]{0,62}$")]
_OF_BUNDLES = ("model_name", "also", "force", "instances", "intra_op_threads", "device")


class Settings(BaseModel):
    """Every setting. As an argument `--the-name value`; as an environment variable SIGHTLINE_RANKER_THE_NAME."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    bundle: Annotated[LocalPath | None, Field(description="Folder of the model's bundle")] = None
    model_name: Annotated[ModelName, Field(description="Name of the model in Triton")] = "ranker"
    also: Annotated[
        tuple[tuple[ModelName, LocalPath], ...], Field(description="NAME=FOLDER of a further bundle; repeatable")
    ] = ()
    repository: Annotated[
        LocalPath | None, Field(description="Triton repository that is served as it is, instead of bundles")
    ] = None
    host: Annotated[str, Field(min_length=1, description="Address to listen on; 127.0.0.1 for this machine only")] = (
        "0.0.0.0"  # a container must be reachable from outside
    )
    grpc_port: Annotated[Port, Field(description="Port of gRPC")] = 9000
    http_port: Annotated[Port, Field(description="Port of REST and health")] = 8080
    metrics_port: Annotated[Port, Field(description="Port of Prometheus metrics")] = 8002
    work_dir: Annotated[
        LocalPath, Field(description="Folder for all that is written, beside /dev/shm; made when it is missing")
    ] = Path("/tmp/ranker")
    force: Annotated[bool, Field(description="Serve a ranker that training found far below the item mean")] = False
    instances: Annotated[int, Field(ge=1, le=64, description="Batches of one model that run at the same time")] = 1
    intra_op_threads: Annotated[int, Field(ge=1, le=64, description="Threads within one batch")] = 1
    device: Annotated[
        Literal["cpu", "gpu"], Field(description="Where the model runs; gpu needs onnxruntime-gpu and a GPU")
    ] = "cpu"
    exit_timeout_seconds: Annotated[
        int, Field(ge=1, le=600, description="Seconds that calls in progress get at SIGTERM")
    ] = 20
    connection_age_seconds: Annotated[
        int, Field(ge=1, le=86400, description="Age at which a gRPC connection is renewed, so that new pods are found")
    ] = 10
    tls_certificate: Annotated[
        LocalPath | None, Field(description="PEM file of the certificate that gRPC shows; no TLS if none")
    ] = None
    tls_key: Annotated[LocalPath | None, Field(description="PEM file of that certificate's key")] = None

    inference_key: Annotated[
        SecretStr | None,
        Field(
            min_length=16,
            description="Opens inference over HTTP, sent as x-sightline-triton-key; give it by the environment",
        ),
    ] = None
    open_inference: Annotated[
        bool, Field(description="Inference over HTTP for everybody: Triton 24.10 ends at some bodies of such a call")
    ] = False

    @model_validator(mode="after")
    def _agree(self) -> Self:
        if (self.bundle is None) == (self.repository is None):
            given = "neither" if self.bundle is None else "both"
            raise ValueError(f"bundle, repository: {given} given; expected one of --bundle DIR and --repository DIR")
        idle = [name for name in _OF_BUNDLES if name in self.model_fields_set]
        if self.repository is not None and idle:
            raise ValueError(f"{', '.join(idle)}: does nothing beside --repository, which says it all; remove it")
        for name in (names := [self.model_name, *(name for name, _ in self.also)]):
            if names.count(name) > 1:
                raise ValueError(f"also: model {name!r} is named twice; give every model its own name")
        if len(set(self.ports.values())) < len(self.ports):
            raise ValueError(
                f"{', '.join(f'{name} {port}' for name, port in self.ports.items())}: expected three ports"
            )
        shown(self.tls_certificate, self.tls_key)
        return self

    @property
    def bundles(self) -> dict[str, Path]:
        """Bundle folder by model name, the main model first; empty with a repository."""
        return {} if self.bundle is None else {self.model_name: self.bundle, **dict(self.also)}

    @property
    def certificate(self) -> Certificate | None:
        """Certificate and key of gRPC."""
        return shown(self.tls_certificate, self.tls_key)

    @property
    def ports(self) -> dict[str, int]:
        """Port by the name of its setting."""
        return {"grpc_port": self.grpc_port, "http_port": self.http_port, "metrics_port": self.metrics_port}


def read_settings(argv: Sequence[str], environment: Mapping[str, str]) -> Settings:
    """Settings from arguments, then environment, then defaults. Raises `SettingsError` with every fault."""
    return read(Settings, _parser(), argv, environment, ENVIRONMENT_PREFIX)


def _parser() -> ArgumentParser:
    description = "Serves bundles, or a Triton repository, on the PyPI wheel's Triton: the process becomes Triton."
    return parser_of(Settings, "serving.ranker.run", description, ENVIRONMENT_PREFIX, word="-")
