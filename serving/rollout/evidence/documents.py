"""What every document of evidence has in common: closed models, and faults that name field and value."""

from __future__ import annotations

from typing import TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

Model = TypeVar("Model", bound="Document")


class CodecError(ValueError):
    """A document that cannot be read; the message names field, value and what was expected."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"{field}: {message}")
        self.field, self.message = field, message


class Document(BaseModel):
    """Base: closed, frozen, no coercion."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


def built(kind: type[Model], **fields: object) -> Model:
    """The document of these fields. Raises CodecError."""
    try:
        return kind.model_validate(fields)
    except ValidationError as cause:
        raise _error(cause) from cause


def read_document(kind: type[Model], text: bytes, *, ours: bool = True) -> Model:
    """Raises CodecError, which shows no value of an answer that may be another service's."""
    try:
        return kind.model_validate_json(text)
    except ValidationError as cause:
        raise _error(cause, values=ours) from cause


def _error(cause: ValidationError, *, values: bool = True) -> CodecError:
    found = cause.errors(include_url=False, include_context=False)[0]
    field = ".".join(map(str, found["loc"])) or "document"
    if found["type"] == "missing":
        return CodecError(field, "is missing")
    if found["type"] == "extra_forbidden" and not values:
        return CodecError("document", "has a field that is none of it")
    value = "" if not values or found["type"] == "value_error" else f"is {found['input']!r:.200}; "
    return CodecError(field, value + found["msg"].removeprefix("Value error, "))
