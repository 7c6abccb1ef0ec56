"""The settings of the collector, from arguments and environment; its secrets from the environment alone."""

from argparse import ArgumentParser
from collections.abc import Mapping, Sequence
from typing import Annotated, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from models.experiments.events import KEY_BYTES, KEY_VARIABLE
from models.local_path import LocalPath
from serving.arguments import SettingsError, parser_of, read
from serving.connections import DEFAULT_CONNECTIONS
from serving.rollout.collector.ranges import FORM, ValueRanges, read_ranges
from serving.rollout.collector.rights import FORMER_VARIABLE, VARIABLES
from serving.rollout.collector.words import DEFAULT_LIMIT
from serving.tls import Certificate, shown

__all__ = [
    "ENVIRONMENT_PREFIX",
    "Settings",
    "SettingsError",
    "read_key",
    "read_settings",
]

ENVIRONMENT_PREFIX = "SIGHTLINE_COLLECTOR_"
DAY = 86400


def _readable(text: str) -> str:
    try:
        read_ranges(text)
    except ValueError as cause:
        raise ValueError(f"value_ranges: {cause}") from cause
    return text


class Settings(BaseModel):
    """Every setting. As an argument `--the-name value`; as an environment variable SIGHTLINE_COLLECTOR_THE_NAME."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    database: Annotated[
        LocalPath, Field(description="Folder of the database, on a volume of its own; made when missing")
    ]
    host: Annotated[str, Field(min_length=1, description="Address to listen on; 127.0.0.1 for this machine only")] = (
        "0.0.0.0"  # a container must be reachable from outside
    )
    port: Annotated[int, Field(ge=1, le=65535, description="Port of events, evidence and health")] = 8090
    metrics_port: Annotated[
        int, Field(ge=1, le=65535, description="Port of GET /metrics, for whoever may see numbers and send nothing")
    ] = 8091
    retention_days: Annotated[
        float,
        Field(
            gt=0,
            le=3650,
            description="Days that an event is kept after its arrival; at least maximumTime + before of an experiment",
        ),
    ] = 90
    late_seconds: Annotated[
        float, Field(ge=0, description="An event that arrives so long after its time is counted as late; it counts")
    ] = 3600
    value_ranges: Annotated[
        str, AfterValidator(_readable), Field(description=f"Values that outcomes may have, others are refused: {FORM}")
    ] = ""
    max_body_bytes: Annotated[int, Field(ge=1024, le=1 << 28, description="Largest body of a request")] = 8 << 20
    max_batch: Annotated[int, Field(ge=1, le=100_000, description="Most events in a request")] = 5000
    max_names: Annotated[
        int,
        Field(ge=10, le=100_000, description="Different names of a field (experiment, arm, event, …) kept at a time"),
    ] = DEFAULT_LIMIT
    max_events_per_second: Annotated[
        float,
        Field(gt=0, le=1e9, description="Events a second that one sender may send in the long run; more get 429"),
    ] = 5000
    max_waiting: Annotated[
        int, Field(ge=1, le=10_000, description="Requests with events taken at the same time; more get 503")
    ] = 32
    max_connections: Annotated[
        int, Field(ge=1, le=100_000, description="Connections at the same time; beyond, idle ones are closed")
    ] = DEFAULT_CONNECTIONS
    evidence_seconds: Annotated[
        float, Field(gt=0, le=3600, description="Longest computation of evidence; then it is ended, with 503")
    ] = 300
    tls_certificate: Annotated[
        LocalPath | None, Field(description="PEM file of the certificate that the port of events shows; no TLS if none")
    ] = None
    tls_key: Annotated[LocalPath | None, Field(description="PEM file of that certificate's key")] = None
    grace_seconds: Annotated[float, Field(ge=0, le=600, description="Seconds that running requests get at SIGTERM")] = (
        20
    )

    @model_validator(mode="after")
    def _agree(self) -> Self:
        if self.late_seconds > self.retention_days * DAY:
            raise ValueError(
                f"late_seconds: is {self.late_seconds:g}, longer than retention_days ({self.retention_days:g} d); "
                "an event that is older than that is refused, so none would be late"
            )
        if self.metrics_port == self.port:
            raise ValueError(
                f"metrics_port: is {self.metrics_port}, the port of events too; expected another, so that who reads "
                "numbers cannot reach the events"
            )
        shown(self.tls_certificate, self.tls_key)
        return self

    @property
    def ranges(self) -> ValueRanges:
        """The values that outcomes may have, by event."""
        return read_ranges(self.value_ranges)

    @property
    def certificate(self) -> Certificate | None:
        """Certificate and key of the port of events."""
        return shown(self.tls_certificate, self.tls_key)


def read_settings(argv: Sequence[str], environment: Mapping[str, str]) -> Settings:
    """Settings from arguments, then environment, then defaults. Raises `SettingsError` with every fault."""
    known = {name: value for name, value in environment.items() if name not in {FORMER_VARIABLE, *VARIABLES}}
    return read(Settings, _parser(), argv, known, ENVIRONMENT_PREFIX)


def read_key(environment: Mapping[str, str]) -> bytes:
    """The key of pseudonyms. Raises `SettingsError`; the message never has the key."""
    key = environment.get(KEY_VARIABLE, "").encode()
    if len(key) < KEY_BYTES:
        raise SettingsError(
            f"{KEY_VARIABLE}: has {len(key)} bytes; expected at least {KEY_BYTES}, the same key as the transformers'"
        )
    return key


def _parser() -> ArgumentParser:
    description = "Keeps exposures and outcomes of experiments on disk, and answers with their evidence."
    return parser_of(Settings, "serving.rollout.collector.run", description, ENVIRONMENT_PREFIX, word="-")
