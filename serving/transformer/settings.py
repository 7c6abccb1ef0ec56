"""The settings of the transformer, from arguments (KServe's own names where KServe appends them) and environment."""

from argparse import ArgumentParser
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from models.items import ItemStoreError
from models.local_path import LocalPath
from serving.arguments import SettingsError, parser_of, read
from serving.connections import DEFAULT_CONNECTIONS
from serving.items.uri import check_place
from serving.tls import authorities
from serving.transformer.assignment_sources import check_source
from serving.transformer.exposures.address import parse as parse_sink
from serving.transformer.source_error import AssignmentSourceError

__all__ = ["ENVIRONMENT_PREFIX", "Settings", "SettingsError", "read_settings"]

_PER_VALUE_BYTES = 8  # before each value of a message: its length
_USER_AND_CONTEXT_BYTES = 256 << 10
ENVIRONMENT_PREFIX = "SIGHTLINE_TRANSFORMER_"
Port = Annotated[int, Field(ge=1, le=65535)]
Seconds = Annotated[float, Field(gt=0, le=600)]
ModelName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.\-]{0,127}$")]


class Settings(BaseModel):
    """Every setting. As an argument `--name value`; as an environment variable SIGHTLINE_TRANSFORMER_NAME."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model_name: Annotated[ModelName, Field(description="Name of the model: in our paths and in Triton")] = "ranker"
    bundle: Annotated[LocalPath, Field(description="Folder of the model's bundle")]
    also: Annotated[
        tuple[tuple[ModelName, LocalPath], ...], Field(description="NAME=FOLDER of a further model; repeatable")
    ] = ()
    store: Annotated[str, Field(min_length=1, description="Item store: a folder, or redis://host:port/number")]
    store_timeout_seconds: Annotated[Seconds, Field(description="Seconds that Redis has to let in and to answer")] = (
        0.15  # a request waits for it: better a worse ranking than a late one
    )
    any_data: Annotated[
        bool,
        Field(description="Rank by an item store of another data set than the bundle's; its ids must mean the same"),
    ] = False
    missing_file: Annotated[
        LocalPath | None,
        Field(description="File that lists items without caption for the captioning step; a Redis store keeps a list"),
    ] = None
    missing_limit: Annotated[int, Field(ge=1, description="Items in that list at most")] = 100_000
    predictor_host: Annotated[str, Field(min_length=1, description="Triton's host, or host:port; port 80 if none")]
    predictor_protocol: Annotated[
        Literal["grpc-v2"], Field(description="How Triton is asked; only gRPC carries raw tensors fast")
    ] = "grpc-v2"
    predictor_ca_file: Annotated[
        LocalPath | None,
        Field(description="PEM file of the authorities that signed Triton's certificate; no TLS if none"),
    ] = None
    predictor_tls_name: Annotated[
        str | None,
        Field(min_length=1, description="Name in the certificate of every Triton, candidates' too; the host's if none"),
    ] = None
    predictor_request_timeout_seconds: Annotated[
        Seconds, Field(description="Seconds that Triton has, retries included")
    ] = 2.0
    predictor_request_retries: Annotated[
        int, Field(ge=0, le=20, description="Repeats of a call to a Triton that is unavailable")
    ] = 3
    handshake_seconds: Annotated[Seconds, Field(description="Seconds between two checks of Triton's contract")] = 5.0
    retry_after_seconds: Annotated[Seconds, Field(description="What Retry-After says when Triton is away")] = 2.0
    host: Annotated[str, Field(min_length=1, description="Address to listen on; 127.0.0.1 for this machine only")] = (
        "0.0.0.0"  # a container must be reachable from outside
    )
    http_port: Annotated[Port, Field(description="Port of REST")] = 8080
    grpc_port: Annotated[Port, Field(description="Port of gRPC")] = 8081
    workers: Annotated[int, Field(description="Must be 1: scale by replicas")] = 1
    max_candidates: Annotated[int, Field(ge=1, le=4096, description="Candidates per request at most")] = 1000
    max_instances: Annotated[int, Field(ge=1, le=1024, description="V1 instances per call at most")] = 16
    max_body_bytes: Annotated[
        int, Field(ge=1024, description="Bytes of a REST body at most; a gRPC message has less")
    ] = 8 << 20
    max_held_bytes: Annotated[
        int, Field(ge=1024, description="Bytes of all unanswered REST bodies over 64 KiB together at most")
    ] = 64 << 20
    max_grpc_calls: Annotated[
        int, Field(ge=1, le=10_000, description="gRPC calls at the same time; those beyond are refused")
    ] = 64
    grpc_connection_age_seconds: Annotated[
        float,
        Field(
            gt=0,
            le=86_400,
            description="A gRPC connection is renewed after that time, between calls; less than a pod serves after it "
            "was told to stop, so that no client is left then",
        ),
    ] = 60
    max_connections: Annotated[
        int, Field(ge=1, le=100_000, description="REST connections at the same time; beyond, idle ones are closed")
    ] = DEFAULT_CONNECTIONS
    max_id_bytes: Annotated[int, Field(ge=1, le=511, description="Bytes of a user or item id at most")] = 256
    max_caption_bytes: Annotated[int, Field(ge=1, description="Bytes of an inline caption at most")] = 4096
    max_inline_bytes: Annotated[
        int, Field(ge=1, description="Bytes of all inline captions of a call at most: each is tokenized in its time")
    ] = 256 << 10
    max_text_bytes: Annotated[int, Field(ge=1, description="Bytes of a string feature at most")] = 1024
    cache_items: Annotated[int, Field(ge=1, description="Encoded items kept per model")] = 100_000
    grace_seconds: Annotated[Seconds, Field(description="Seconds that running calls get at shutdown")] = 20.0
    assignments: Annotated[
        str | None,
        Field(
            min_length=1,
            description="Experiments: a file, configmap://namespace/name, or redis://host:port/number; none without",
        ),
    ] = None
    assignment_seconds: Annotated[Seconds, Field(description="Seconds between two looks at the assignments")] = 2.0
    arm_header: Annotated[
        str,
        Field(
            pattern=r"^([a-z0-9_.\-]{1,64})?$",
            description="Header or gRPC metadata key by which a call with its key may name an arm; empty: none may",
        ),
    ] = "x-sightline-arm"
    tell_arm: Annotated[
        bool,
        Field(description="Whether answers tell the user's arm, experiment and contract while an experiment runs"),
    ] = False
    candidate_bundles: Annotated[
        LocalPath | None, Field(description="Folder for candidates' bundles while they are read; TMPDIR's if none")
    ] = None
    candidate_timeout_seconds: Annotated[
        Seconds | None,
        Field(description="Seconds of a call that a candidate may use; half of Triton's if none"),
    ] = None
    candidate_failures: Annotated[
        int, Field(ge=1, description="Failures in a row after which a candidate is not asked for a while")
    ] = 5
    candidate_pause_seconds: Annotated[Seconds, Field(description="Seconds of that while")] = 5.0
    shadow_concurrency: Annotated[int, Field(ge=1, le=1024, description="Shadow rankings at the same time at most")] = 4
    exposures: Annotated[
        str | None,
        Field(min_length=1, description="Where exposures go, see serving/transformer/exposures; none without"),
    ] = None
    exposure_queue: Annotated[int, Field(ge=1, description="Exposures that wait at most; those beyond are dropped")] = (
        10_000
    )
    exposure_items: Annotated[int, Field(ge=0, le=4096, description="Best items kept of each exposure")] = 20

    @field_validator("store")
    @classmethod
    def _is_a_place(cls, store: str) -> str:
        try:
            check_place(store)
        except ItemStoreError as cause:
            raise ValueError(str(cause)) from cause
        return store

    @field_validator("predictor_ca_file")
    @classmethod
    def _has_authorities(cls, file: Path | None) -> Path | None:
        if file is not None:
            authorities(file, "predictor_ca_file")
        return file

    @field_validator("assignments")
    @classmethod
    def _is_a_source(cls, assignments: str | None) -> str | None:
        if assignments is not None:
            try:
                check_source(assignments)
            except AssignmentSourceError as cause:
                raise ValueError(str(cause)) from cause
        return assignments

    @field_validator("exposures")
    @classmethod
    def _is_a_sink(cls, exposures: str | None) -> str | None:
        if exposures is not None:
            parse_sink(exposures)
        return exposures

    @model_validator(mode="after")
    def _arms_agree(self) -> Self:
        if self.exposures is not None and self.assignments is None:
            raise ValueError("exposures: there are none without an experiment; give --assignments, or leave it out")
        limit = self.predictor_request_timeout_seconds
        if self.candidate_timeout_seconds is not None and self.candidate_timeout_seconds >= limit:
            raise ValueError(
                f"candidate_timeout_seconds is {self.candidate_timeout_seconds:g}; expected less than "
                f"predictor_request_timeout_seconds ({limit:g}): stable answers in the time that is left"
            )
        if self.predictor_tls_name is not None and self.predictor_ca_file is None:
            raise ValueError(
                f"predictor_tls_name is {self.predictor_tls_name!r}, and Triton is asked without TLS; give "
                "--predictor_ca_file, or leave it out"
            )
        if self.arm_header.endswith("-bin"):
            raise ValueError(f"arm_header is {self.arm_header!r}; gRPC takes names with -bin for bytes; choose another")
        return self

    @model_validator(mode="after")
    def _agree(self) -> Self:
        names = [self.model_name, *(name for name, _ in self.also)]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"also: model {name!r} is named twice; give every model its own name")
        if self.workers != 1:
            raise ValueError(
                f"workers is {self.workers}; expected 1: metrics, readiness and caches are per process; "
                "scale by replicas, and leave containerConcurrency out of the InferenceService"
            )
        if self.http_port == self.grpc_port:
            raise ValueError(f"grpc_port is {self.grpc_port}, as http_port; expected two ports; change one")
        return self

    @property
    def models(self) -> dict[str, Path]:
        """Bundle folder by model name, the main model first."""
        return {self.model_name: self.bundle, **dict(self.also)}

    @property
    def max_grpc_message_bytes(self) -> int:
        """What the largest call that the limits allow takes as a message, and no more than `max_body_bytes`."""
        ids = self.max_candidates * (self.max_id_bytes + _PER_VALUE_BYTES)
        captions = self.max_inline_bytes + self.max_candidates * _PER_VALUE_BYTES
        return min(self.max_body_bytes, ids + captions + _USER_AND_CONTEXT_BYTES)

    @property
    def candidate_seconds(self) -> float:
        """Seconds of a call that a candidate may use."""
        return self.candidate_timeout_seconds or self.predictor_request_timeout_seconds / 2


def read_settings(argv: Sequence[str], environment: Mapping[str, str]) -> Settings:
    """Settings from arguments, then environment, then defaults. Raises `SettingsError` with every fault."""
    return read(Settings, _parser(), argv, environment, ENVIRONMENT_PREFIX)


def _parser() -> ArgumentParser:
    description = "Ranks candidates: captions from the item store, scores from Triton."
    return parser_of(Settings, "serving.transformer.run", description, ENVIRONMENT_PREFIX, word="_")
