"""The settings of the collector, from arguments and environment; its two secrets from the environment alone."""

from argparse import ArgumentParser
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from models.experiments.events import KEY_BYTES, KEY_VARIABLE
from serving.arguments import SettingsError, parser_of, read

__all__ = [
    "ENVIRONMENT_PREFIX",
    "TOKEN_VARIABLE",
    "Settings",
    "SettingsError",
    "read_key",
    "read_settings",
    "read_token",
]

ENVIRONMENT_PREFIX = "SIGHTLINE_COLLECTOR_"
TOKEN_VARIABLE = "SIGHTLINE_COLLECTOR_TOKEN"
_TOKEN_CHARACTERS = 16
DAY = 86400


class Settings(BaseModel):
    """Every setting. As an argument `--the-name value`; as an environment variable SIGHTLINE_COLLECTOR_THE_NAME."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    database: Annotated[Path, Field(description="Folder of the database, on a volume of its own; made when missing")]
    host: Annotated[str, Field(min_length=1, description="Address to listen on; 127.0.0.1 for this machine only")] = (
        "0.0.0.0"  # a container must be reachable from outside
    )
    port: Annotated[int, Field(ge=1, le=65535, description="Port of events, evidence, health and metrics")] = 8090
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
    max_body_bytes: Annotated[int, Field(ge=1024, le=1 << 28, description="Largest body of a request")] = 8 << 20
    max_batch: Annotated[int, Field(ge=1, le=100_000, description="Most events in a request")] = 5000
    max_waiting: Annotated[
        int, Field(ge=1, le=10_000, description="Requests with events taken at the same time; more get 503")
    ] = 32
    evidence_seconds: Annotated[
        float, Field(gt=0, le=3600, description="Longest computation of evidence; then it is ended, with 503")
    ] = 300
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
        return self


def read_settings(argv: Sequence[str], environment: Mapping[str, str]) -> Settings:
    """Settings from arguments, then environment, then defaults. Raises `SettingsError` with every fault."""
    known = {name: value for name, value in environment.items() if name != TOKEN_VARIABLE}
    return read(Settings, _parser(), argv, known, ENVIRONMENT_PREFIX)


def read_key(environment: Mapping[str, str]) -> bytes:
    """The key of pseudonyms. Raises `SettingsError`; the message never has the key."""
    key = environment.get(KEY_VARIABLE, "").encode()
    if len(key) < KEY_BYTES:
        raise SettingsError(
            f"{KEY_VARIABLE}: has {len(key)} bytes; expected at least {KEY_BYTES}, the same key as the transformers'"
        )
    return key


def read_token(environment: Mapping[str, str]) -> str | None:
    """The token that callers must send, if one is set. Raises `SettingsError`; the message never has the token."""
    token = environment.get(TOKEN_VARIABLE)
    if token is None:
        return None
    if len(token) < _TOKEN_CHARACTERS or not (token.isascii() and token.isprintable()):
        raise SettingsError(
            f"{TOKEN_VARIABLE}: has {len(token)} characters; expected at least {_TOKEN_CHARACTERS} of printable "
            "ASCII, or no such variable"
        )
    return token


def _parser() -> ArgumentParser:
    description = "Keeps exposures and outcomes of experiments on disk, and answers with their evidence."
    return parser_of(Settings, "serving.rollout.collector.run", description, ENVIRONMENT_PREFIX, word="-")
