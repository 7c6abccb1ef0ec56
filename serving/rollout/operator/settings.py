"""Settings of the operator: command line, then environment."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator

from serving.arguments import SettingsError, parser_of, read
from serving.rollout.evidence.bounded import redacted
from serving.rollout.operator.reach import PLACES, Reach

__all__ = ["Settings", "SettingsError", "read_settings"]

_STORES = frozenset({"s3", "s3a", "gs", "gcs", "az", "abfs", "abfss"})
_PREFIX = "SIGHTLINE_OPERATOR_"
_CONFIG_MAP = re.compile(r"configmap://[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?/[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?")
_REDIS = re.compile(r"rediss?://[^/@?]+(/[0-9]+)?(\?prefix=[^&]*)?")
_NAMES = re.compile(r"([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)(,[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*")


class Settings(BaseModel):
    """All of them; an unknown one is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    assignments: str = Field(
        description="where transformers read who sees what: configmap://namespace/name or redis://"
    )
    namespaces: str = Field(default="", description="namespaces of the experiments, by commas; empty: the pod's own")
    metrics_port: int = Field(default=8095, ge=0, le=65535, description="port of GET /metrics")
    health_port: int = Field(default=8096, ge=0, le=65535, description="port of GET /health/live and /health/ready")
    host: str = Field(default="0.0.0.0", description="where both listen")
    identity: str = Field(default="", description="differs between replicas; empty: the host's name")
    lease: str = Field(
        default="sightline-operator", min_length=1, description="name of the Lease that one replica holds"
    )
    lease_namespace: str = Field(default="", description="where the Lease is; empty: the pod's own namespace")
    lease_owner: str = Field(
        default="",
        description="Deployment beside the Lease that takes it with it when it goes; empty: of the Lease's name",
    )
    lease_seconds: float = Field(default=15.0, ge=1, le=600, description="a leader silent for so long is followed")
    resync_seconds: float = Field(default=60.0, ge=1, description="experiments are listed again so often")
    step_seconds: float = Field(default=30.0, gt=0, le=60, description="an experiment is looked at at least so often")
    workers: int = Field(default=4, ge=1, le=64, description="experiments that are worked on at the same time")
    store_secret: str = Field(
        default="", description="Secret of the model store, for pods that have fetched nothing yet"
    )
    collectors: str = Field(default="", description="base URLs of collectors that experiments may name, by commas")
    prometheus: str = Field(default="", description="base URLs of Prometheus that experiments may name, by commas")
    bundles: str = Field(
        default=",".join(PLACES), description="beginnings of bundles' URIs that experiments may name, by commas"
    )
    redis_username: str | None = Field(default=None, description="of redis://, where the server has users")
    redis_password: SecretStr | None = Field(default=None, description="of redis://; give it by the environment")
    redis_ca_file: str | None = Field(default=None, description="authority that signed the certificate of rediss://")
    triton_key: SecretStr | None = Field(
        default=None, min_length=16, description="of candidates' inference over HTTP; give it by the environment"
    )
    evidence_folders: str = Field(default="", description="folders that evidence.sql may read, by commas; empty: none")
    evidence_memory: str = Field(default="1GB", description="most memory of a question of evidence.sql")

    @field_validator("assignments")
    @classmethod
    def _is_a_place(cls, value: str) -> str:
        if not (_CONFIG_MAP.fullmatch(value) or _REDIS.fullmatch(value)):
            shown = value.rpartition("@")[2]
            raise ValueError(f"is {shown!r}; expected configmap://namespace/name or redis://host:port/number")
        return value

    @field_validator("bundles")
    @classmethod
    def _are_places(cls, value: str) -> str:
        for place in filter(None, value.split(",")):
            scheme, mark, rest = place.partition("://")
            if not (place.startswith("/") or (mark and scheme in _STORES)) or "@" in rest:
                raise ValueError(
                    f"has {redacted(place)!r}; expected the beginning of an absolute path, or of a URI of "
                    f"{', '.join(sorted(_STORES))} without user and password"
                )
        return value

    @field_validator("namespaces")
    @classmethod
    def _are_names(cls, value: str) -> str:
        if value and not _NAMES.fullmatch(value):
            raise ValueError(f"is {value!r}; expected names of namespaces, separated by commas")
        return value

    @property
    def reach(self) -> Reach:
        """What experiments may name."""
        return Reach(
            *(tuple(filter(None, each.split(","))) for each in (self.collectors, self.prometheus, self.bundles))
        )


def read_settings(argv: Sequence[str], environment: Mapping[str, str]) -> Settings:
    """Read them. Raises SettingsError, which names all faults."""
    description = "The controller of experiments: watches Experiment resources and takes them through their lives."
    parser = parser_of(Settings, "serving.rollout.operator.run", description, _PREFIX, "-")
    return read(Settings, parser, argv, environment, _PREFIX)
