"""Every setting of the captioning service, documented where it is defined.

A value comes from, in this order: an argument (a command line flag, or `args` of a RayService), the
environment (`SIGHTLINE_CAPTIONER_` + the name in capitals; lists are separated by commas), the default here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from models.local_path import LocalPath
from serving.captioner.admission import Limits
from serving.captioner.hosts import listed_host
from serving.connections import DEFAULT_CONNECTIONS
from serving.tls import shown

PREFIX = "SIGHTLINE_CAPTIONER_"
MIB = 1024 * 1024
ImageFormat = Literal["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF"]


class SettingsError(ValueError):
    """Settings that cannot be used; the message lists every fault with its setting's name and value."""


class CaptionerSettings(BaseModel):
    """What the Serve application needs, wherever it runs. Frozen and closed: an unknown name is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    preset: str = Field(
        "tiny", min_length=1, description="captioner preset by name, or a LLaVA checkpoint by folder, hub id or URI"
    )

    revision: str = Field(
        "", pattern=r"^([0-9a-f]{40})?$", description="commit of a hub id, all of it; empty: the hub's newest"
    )
    weights: str = Field(
        "",
        pattern=r"^([0-9a-f]{64})?$",
        description="digest that the weights must have, as `sightline models pin-weights SOURCE` tells it; empty: any",
    )
    max_batch_size: int = Field(64, ge=1, le=1024, description="images captioned in one call of the model")
    batch_wait_s: float = Field(
        0.01, ge=0, le=5, description="seconds a batch that is not full waits for images of other requests"
    )
    min_replicas: int = Field(1, ge=1, le=1000, description="model replicas that always run")
    max_replicas: int = Field(1, ge=1, le=1000, description="model replicas at most; Serve scales between the two")
    target_ongoing_requests: float = Field(
        2.0, gt=0, le=1000, description="calls in progress per model replica above which Serve adds replicas"
    )
    max_ongoing_requests: int = Field(
        64,
        ge=2,
        le=1000,
        description="calls in progress per model replica at most; further calls wait in the ingress",
    )
    max_queued_requests: int = Field(
        64,
        ge=1,
        le=10000,
        description="calls waiting for a model replica at most; above it the answer is 503",
    )
    model_cpus: float = Field(1.0, ge=0, le=128, description="CPUs that Ray reserves per model replica; torch threads")
    model_gpus: float = Field(0.0, ge=0, le=16, description="GPUs that Ray reserves per model replica")
    ingress_replicas: int = Field(
        1,
        ge=1,
        le=100,
        description="ingress replicas; they parse and decode; each has its own /metrics series",
    )
    ingress_cpus: float = Field(1.0, ge=0, le=128, description="CPUs that Ray reserves per ingress replica")
    decode_threads: int = Field(2, ge=1, le=64, description="threads that decode images in one ingress replica")
    # The worst that is admitted by default: 50 megapixels as progressive JPEG take 325 MiB, as PNG 220 MiB; a WebP
    # fits up to 24 megapixels, for its decoder takes 16 bytes a pixel.
    max_decode_bytes: int = Field(
        384 * MIB,
        ge=64 * MIB,
        le=16 * 1024 * MIB,
        description="bytes that decoding large images takes at a time in one ingress replica; "
        "an image that alone needs more is refused",
    )
    max_requests: int = Field(
        64,
        ge=1,
        le=1000,
        description="caption requests held by one ingress replica; above it the answer is 503",
    )
    # With the defaults, bodies, pixels (256 pictures of at most 672x672x3 bytes) and decoding take 1.05 GB at the very
    # worst: 256 MiB, 331 MiB, 384 MiB, and 32 MiB for each decode thread.
    max_held_bytes: int = Field(
        256 * MIB,
        ge=1,
        le=16 * 1024 * MIB,
        description="bytes of bodies held by one ingress replica, then 503",
    )
    max_held_images: int = Field(
        256,
        ge=1,
        le=100_000,
        description="decoded images held by one ingress replica; above it the answer is 503",
    )
    request_timeout_s: float = Field(120.0, gt=0, le=3600, description="seconds until a request is answered with 504")
    body_timeout_s: float = Field(30.0, gt=0, le=3600, description="seconds in which a request body must arrive")
    batch_timeout_s: float = Field(
        300.0,
        gt=0,
        le=7200,
        description="seconds of one batch after which the model replica is unhealthy and replaced",
    )
    retry_after_s: int = Field(1, ge=1, le=3600, description="Retry-After of a 503, in seconds")
    shutdown_s: float = Field(
        10.0, gt=0, le=3600, description="seconds a replica may finish its work when it is stopped"
    )

    max_request_bytes: int = Field(64 * MIB, ge=1, le=1024 * MIB, description="bytes of a request body at most")
    max_image_bytes: int = Field(20 * MIB, ge=1, le=1024 * MIB, description="bytes of one encoded image at most")
    max_images: int = Field(64, ge=1, le=1024, description="images of one request at most")
    # Pillow itself warns above 89,478,485 pixels; a phone's 48 megapixels (8064x6048) fit.
    max_pixels: int = Field(50_000_000, ge=1, le=89_478_485, description="pixels declared by an image's header at most")
    max_aspect_ratio: float = Field(20.0, ge=1, le=1000, description="long side over short side at most")
    max_side: int = Field(
        672,
        ge=32,
        le=4096,
        description="pixels of the longer side handed to the model; larger pictures are reduced",
    )
    min_side: int = Field(
        16,
        ge=4,
        le=32,
        description="pixels of the shorter side handed to the model; smaller pictures are enlarged",
    )
    formats: tuple[ImageFormat, ...] = Field(
        ("PNG", "JPEG", "WEBP", "GIF", "BMP"),
        min_length=1,
        description="formats admitted; TIFF is known, and off",
    )

    allow_urls: bool = Field(False, description="fetch images that a JSON request names by URL")
    url_hosts: tuple[str, ...] = Field(
        (), description="hosts that may be fetched from: host, or host:port for another port"
    )
    url_allow_private: bool = Field(
        False, description="fetch also from hosts whose address is loopback, private or link-local"
    )
    url_timeout_s: float = Field(10.0, gt=0, le=300, description="seconds in which one URL must be fetched")

    @model_validator(mode="after")
    def _consistent(self) -> CaptionerSettings:
        if self.max_replicas < self.min_replicas:
            raise ValueError(f"max_replicas {self.max_replicas} is below min_replicas {self.min_replicas}: raise it")
        if self.max_held_bytes < self.max_request_bytes or self.max_held_images < self.max_images:
            raise ValueError("max_held_bytes and max_held_images must have room for one request of the largest size")
        if self.allow_urls and not self.url_hosts:
            raise ValueError("allow_urls is on and url_hosts is empty: name the hosts that may be fetched from")
        if not self.allow_urls and (self.url_hosts or self.url_allow_private):
            raise ValueError("url_hosts and url_allow_private do nothing while allow_urls is off: set allow_urls")
        for entry in self.url_hosts:
            listed_host(entry)
        return self

    def limits(self) -> Limits:
        """The part of the settings that admission reads."""
        return Limits(
            max_bytes=self.max_image_bytes,
            max_pixels=self.max_pixels,
            max_decode_bytes=self.max_decode_bytes,
            max_aspect_ratio=self.max_aspect_ratio,
            max_side=self.max_side,
            min_side=self.min_side,
            formats=frozenset(self.formats),
        )


class MachineSettings(BaseModel):
    """What `serving.captioner.run` needs beside the application: the local Ray and its HTTP port."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    host: str = Field("127.0.0.1", min_length=1, description="address that the HTTP server listens on")
    port: int = Field(8001, ge=1, le=65535, description="port that the HTTP server listens on")
    max_connections: int = Field(
        DEFAULT_CONNECTIONS,
        ge=1,
        le=100_000,
        description="connections of a proxy at the same time; beyond, idle ones are closed",
    )
    tls_certificate: LocalPath | None = Field(
        None, description="PEM file of the certificate that the HTTP server shows; no TLS without it"
    )
    tls_key: LocalPath | None = Field(None, description="PEM file of that certificate's key")
    temp_dir: str | None = Field(
        None,
        description="folder in which Ray's sockets and logs are kept; without it they are removed at the end",
    )
    object_store_bytes: int = Field(
        128 * MIB, ge=80 * MIB, le=1024 * 1024 * MIB, description="shared memory of Ray's object store"
    )

    @model_validator(mode="after")
    def _has_key(self) -> MachineSettings:
        shown(self.tls_certificate, self.tls_key)
        return self


Model = TypeVar("Model", bound=BaseModel)
_NAMES = frozenset(CaptionerSettings.model_fields) | frozenset(MachineSettings.model_fields)


def read_settings(environ: Mapping[str, str], args: Mapping[str, object]) -> CaptionerSettings:
    """Settings of the application from the environment, overridden by `args`.

    Raises:
        SettingsError: a value out of range, an unknown argument or `SIGHTLINE_CAPTIONER_` variable.
    """
    return _read(CaptionerSettings, environ, args)


def read_machine(environ: Mapping[str, str], args: Mapping[str, object]) -> MachineSettings:
    """Settings of the machine, read and refused like those of `read_settings`."""
    return _read(MachineSettings, environ, args)


def _read(kind: type[Model], environ: Mapping[str, str], args: Mapping[str, object]) -> Model:
    known = set(kind.model_fields)
    variables = {key.removeprefix(PREFIX).lower(): text for key, text in environ.items() if key.startswith(PREFIX)}
    strangers = sorted(PREFIX + name.upper() for name in set(variables) - _NAMES)
    if strangers:
        raise SettingsError(f"unknown environment variable {', '.join(strangers)}: see `--help` for the names")
    values = {name: _listed(kind, name, text) for name, text in variables.items() if name in known}
    values |= {name: _listed(kind, name, value) for name, value in args.items()}
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        faults = "; ".join(
            f"{'.'.join(map(str, fault['loc'])) or 'settings'}: {fault['msg']} (got {fault['input']!r})"
            if fault["loc"]
            else fault["msg"]
            for fault in error.errors()
        )
        raise SettingsError(f"the captioner's settings cannot be used: {faults}") from error


def _listed(kind: type[BaseModel], name: str, value: object) -> object:
    field = kind.model_fields.get(name)
    if isinstance(value, str) and field is not None and isinstance(field.default, tuple):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    return value
