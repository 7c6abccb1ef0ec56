"""A job's last words: the JSON that Kubernetes keeps as the container's termination message."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

LIMIT = 4096
"""Bytes that Kubernetes keeps of it."""
ENVIRONMENT = "SIGHTLINE_TERMINATION_LOG"
KUBERNETES = Path("/dev/termination-log")

Outcome = Literal["done", "failed", "interrupted"]


@dataclass(frozen=True, slots=True)
class Message:
    """What a job tells.

    Attributes:
        bundles: where each bundle is now, by name. contract_digest: of the bundle with captions.
        metrics: figures by name. lift: delta, low, high and verdict of the recipe's first split.
    """

    job: str
    outcome: Outcome
    message: str
    bundles: Mapping[str, str] = field(default_factory=dict)
    contract_digest: str | None = None
    metrics: Mapping[str, Any] = field(default_factory=dict)
    lift: Mapping[str, Any] | None = None

    def to_json(self) -> bytes:
        """At most `LIMIT` bytes: a long message loses its middle, then the metrics go, then all but the message."""
        shorter = replace(self, message=_cut(self.message, 300))
        bare = Message(self.job, self.outcome, shorter.message)
        for each in (self, replace(self, message=_cut(self.message, 1500)), replace(shorter, metrics={}), bare):
            if len(data := _json(each)) <= LIMIT:
                return data
        raise AssertionError(f"{len(data)} bytes")  # 300 characters are at most 3,600 bytes


def place(environment: Mapping[str, str] = os.environ) -> Path | None:
    """Where the message goes; None when nobody asked for one."""
    if named := environment.get(ENVIRONMENT):
        return Path(named)
    return KUBERNETES if KUBERNETES.exists() else None


def write(message: Message, path: Path | None) -> None:
    """Write in place and at once: Kubernetes mounts the very file, which cannot be replaced by a rename.

    Raises:
        OSError: it cannot be written.
    """
    if path is None:
        return
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    try:
        data = message.to_json()
        if os.write(handle, data) != len(data):
            raise OSError(f"{path}: only a part of the termination message could be written; is the volume full?")
    finally:
        os.close(handle)


def _json(message: Message) -> bytes:
    return json.dumps(asdict(message), ensure_ascii=True, allow_nan=False).encode()


def _cut(text: str, length: int) -> str:
    half = length // 2
    return text if len(text) <= length else f"{text[:half]} … {text[-half:]}"
