"""What the collector refuses, and how it says so."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

REFUSED = 3
"""Exit code of the answering process for a question that is refused."""
_DEPTH = 5
_SHOWN = 100  # characters of a value in an answer


class RequestError(Exception):
    """A request that is refused as a whole: its status, and a message that says what to do."""

    def __init__(self, status: int, field: str, message: str, retry_after: int | None = None) -> None:
        super().__init__(message)
        self.status, self.field, self.retry_after = status, field, retry_after


class StoreError(Exception):
    """The database did not take or give something; what was asked for is not done, and may be asked for again."""


@dataclass(frozen=True, slots=True)
class Fault:
    """An event that is refused: its place in the batch, the field, its value, what was expected."""

    index: int
    field: str
    value: str
    expected: str

    def payload(self) -> dict[str, object]:
        """As it is answered."""
        return {"index": self.index, "field": self.field, "value": self.value, "expected": self.expected}


def shown(value: object) -> str:
    """A value as an answer shows it: bounded."""
    text = repr(value)
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "…"


def first_fault(error: ValidationError) -> tuple[str, str, str]:
    """Field, value and expectation of a model's first fault."""
    found: Any = error.errors(include_url=False, include_context=False)[0]
    field = ".".join(str(part)[:_SHOWN] for part in found["loc"][:_DEPTH]) or "event"  # names that a sender made up
    value = "missing" if found["type"] == "missing" else shown(found["input"])
    return field, value, str(found["msg"])
