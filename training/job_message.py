"""What the training jobs tell at their end, as `models.termination` writes it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

Outcome = Literal["done", "failed", "interrupted"]


@dataclass(frozen=True, slots=True)
class Message:
    """The fields of a job's termination message.

    Attributes:
        bundles: where each bundle is now, by name. contract_digest: of the bundle with captions.
        metrics: figures by split. lift: delta, low, high and verdict of the recipe's first split.
        warnings: what whoever reads this should know, whatever the outcome.
    """

    job: str
    outcome: Outcome
    message: str
    bundles: Mapping[str, str] = field(default_factory=dict)
    contract_digest: str | None = None
    metrics: Mapping[str, Any] = field(default_factory=dict)
    lift: Mapping[str, Any] | None = None
    warnings: Sequence[str] = ()

    def document(self) -> dict[str, Any]:
        """As `write_termination` takes it."""
        document = asdict(self)
        return document if self.warnings else {name: value for name, value in document.items() if name != "warnings"}
