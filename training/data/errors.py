"""What can go wrong with data, as types that a caller can tell apart."""

from collections.abc import Sequence
from dataclasses import dataclass


class DataError(Exception):
    """Base of all errors of this package."""


class FetchError(DataError):
    """A public data set could not be fetched, or is not the one we know; the message says what to do."""


class SplitError(DataError):
    """A data set cannot be split as asked, for instance because a part would be empty."""


class PosterError(DataError):
    """A poster could not be rendered or its folder cannot be used."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong in a table.

    Attributes:
        table: `interactions`, `items`, `users`, or the folder itself.
        column: the column's name, empty when the table as a whole is at fault.
        row: the first offending row's number (0-based, in file order), None when no single row is.
        value: the first offending value as text, cut to 80 characters.
        expected: what was expected instead.
        fix: what to do next.
        count: how many rows have this fault.
        examples: the first few offending row numbers.
    """

    table: str
    column: str
    row: int | None
    value: str
    expected: str
    fix: str
    count: int = 1
    examples: tuple[int, ...] = ()

    def __str__(self) -> str:
        place = f"{self.table}.{self.column}" if self.column else self.table
        rows = ""
        if self.row is not None:
            listed = ", ".join(str(row) for row in self.examples or (self.row,))
            rest = ", …" if self.count > len(self.examples or (self.row,)) else ""
            rows = f" (row {listed}{rest}; {self.count} in all)" if self.count > 1 else f" (row {listed})"
        return f"{place}{rows}: found {self.value}; expected {self.expected}. {self.fix}"


class DatasetError(DataError):
    """A bring-your-own data set is refused; `faults` lists all that is wrong with it, not only the first."""

    def __init__(self, where: str, faults: Sequence[Fault]) -> None:
        self.where = where
        self.faults = tuple(faults)
        lines = [f"{where}: {len(self.faults)} fault{'s' if len(self.faults) != 1 else ''} found"]
        super().__init__("\n  - ".join([*lines, *(str(fault) for fault in self.faults)]))
