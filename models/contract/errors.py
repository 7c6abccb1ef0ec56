"""The errors of the contract. Each names the thing, its value, what was expected and what to do next."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NoReturn

SHOWN_CHARACTERS = 120


def shown(value: object) -> str:
    """The value as it appears in a message: `repr`, cut to 120 characters."""
    text = repr(value)
    return text if len(text) <= SHOWN_CHARACTERS else text[: SHOWN_CHARACTERS - 1] + "…"


class ContractError(Exception):
    """Base of every error that `models.contract` raises on purpose."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong in a contract: where it is, what is there, what should be, what to do."""

    path: str
    value: str
    expected: str
    fix: str

    def __str__(self) -> str:
        return f"{self.path}: is {self.value}; expected {self.expected}; {self.fix}"


class ContractFormatError(ContractError):
    """A contract (or one of its parts) is not well formed. `faults` holds all that was found, not the first."""

    def __init__(self, where: str, faults: Sequence[Fault]) -> None:
        self.where = where
        self.faults = tuple(faults)
        lines = "\n".join(f"  - {fault}" for fault in self.faults)
        super().__init__(f"{where} has {len(self.faults)} fault(s):\n{lines}")


class FeatureValueError(ContractError):
    """A raw value, a column or a tensor does not fit the contract."""

    def __init__(self, feature: str, row: int | None, value: object, expected: str, fix: str) -> None:
        self.feature, self.row, self.value, self.expected, self.fix = feature, row, value, expected, fix
        place = "" if row is None else f", row {row}"
        super().__init__(f"{feature}{place}: is {shown(value)}; expected {expected}; {fix}")


class TokenizerError(ContractError):
    """A `tokenizer.json` that cannot be read or used, or a caption that is not text."""


class DigestMismatchError(ContractError):
    """Two things that must be made for each other are not: names both digests."""

    def __init__(self, expected: str, actual: str, where: str) -> None:
        self.expected, self.actual, self.where = expected, actual, where
        super().__init__(
            f"{where}: digest is {actual}; expected {expected}; "
            "use the file that belongs to the contract, or make a new version of the contract"
        )


class VersionBumpError(ContractError):
    """A contract changed what it encodes without a higher `version`."""


def refuse(feature: str, row: int | None, value: object, expected: str, fix: str) -> NoReturn:
    """Raise `FeatureValueError`; lets a caller stay on one line."""
    raise FeatureValueError(feature, row, value, expected, fix)
