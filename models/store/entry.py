"""`entry.json`: what one entry of the store holds; it is written last, so that its presence commits the entry."""

from __future__ import annotations

import json
import re
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from models.bundle import FileEntry, Instant, Sha256, digest_of
from models.store.errors import DamagedEntryError, ModelStoreError

ENTRY, CLAIM, BUNDLE, REPOSITORY = "entry.json", "claim.json", "bundle", "repository"
_NAME = r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}"
_NUMBER = r"[1-9][0-9]{0,17}"


class Entry(BaseModel):
    """A published bundle. `files` has every file of the entry but entry.json itself, by its path in the entry."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format_version: Literal[1] = 1
    name: Annotated[str, StringConstraints(pattern=f"^{_NAME}$")]
    """The model's name: its folder in the store and in the entry's Triton repository."""
    number: Annotated[int, Field(ge=1)]
    """Given once and never again, rising per name; numbers of publishes that failed stay unused."""
    bundle: Sha256
    """The bundle's id."""
    contract_digest: Sha256
    created: Instant
    """When it was published; ISO 8601 with a time zone."""
    git_revision: str
    """Of the code that trained the bundle."""
    size: Annotated[int, Field(ge=0)]
    """Bytes of all files."""
    files: dict[str, FileEntry]

    def to_json(self) -> bytes:
        """The file's text; it ends with a digest of all the rest, so that a changed byte in it shows too."""
        fields = self.model_dump(mode="json")
        return json.dumps({**fields, "self": _digest(fields)}, indent=2, sort_keys=True).encode() + b"\n"

    @classmethod
    def from_json(cls, data: bytes, where: str) -> Self:
        """Read the text of `to_json`, byte for byte.

        Raises:
            DamagedEntryError: it is anything else.
        """
        try:
            fields = json.loads(data)
            fields.pop("self", None) if isinstance(fields, dict) else None
            entry = cls.model_validate(fields)
        except (ValueError, ValidationError) as error:
            raise DamagedEntryError(
                f"{where} is not an entry of format 1: {error}; publish the bundle again"
            ) from error
        if entry.to_json() != data:
            raise DamagedEntryError(
                f"{where} was changed after it was written (its own digest differs); publish the bundle again"
            )
        return entry


def is_name(text: str) -> bool:
    """Whether `text` can be the name of a model."""
    return re.fullmatch(_NAME, text) is not None


def checked_name(text: str) -> str:
    """`text`, if it can be the name of a model.

    Raises:
        ModelStoreError: it cannot.
    """
    if not is_name(text):
        raise ModelStoreError(
            f"model name {text!r}: expected letters, digits, '_', '-', '.', at most 63, the first a letter or a digit"
        )
    return text


def number_of(text: str) -> int | None:
    """The entry number that `text` writes, None when it is none (also for 0 and leading zeros)."""
    return int(text) if re.fullmatch(_NUMBER, text) else None


def _digest(fields: dict[str, object]) -> str:
    text = json.dumps(fields, sort_keys=True, separators=(",", ":"))
    return digest_of(text.encode())
