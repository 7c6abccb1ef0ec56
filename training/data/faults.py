"""Collects faults, so that a validator can report all of them at once."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from training.data.errors import Fault

EXAMPLES = 5
SHOWN_CHARACTERS = 80


class Faults:
    """A list that grows."""

    def __init__(self) -> None:
        self._found: list[Fault] = []

    @property
    def found(self) -> tuple[Fault, ...]:
        """What was found, in the order in which it was."""
        return tuple(self._found)

    def add(self, table: str, column: str, found: str, expected: str, fix: str, *, row: int | None = None) -> None:
        """A fault of a table or column as a whole; `found` is what a message says was found, first in `row`."""
        self._found.append(Fault(table, column, row, found, expected, fix))

    def rows(
        self,
        table: str,
        column: str,
        bad: npt.NDArray[np.bool_],
        values: "pd.Series[Any]",
        expected: str,
        fix: str,
    ) -> None:
        """One fault for all rows where `bad` [rows] is true, with the first few row numbers and the first
        value.
        """
        numbers = np.flatnonzero(bad)
        if len(numbers) == 0:
            return
        first = int(numbers[0])
        examples = tuple(int(number) for number in numbers[:EXAMPLES])
        value = shown(values.iloc[first])
        self._found.append(Fault(table, column, first, value, expected, fix, len(numbers), examples))


def shown(value: object) -> str:
    """The value as a message shows it: null, or its repr cut to 80 characters."""
    if value is None or value is pd.NA:
        return "null"
    if isinstance(value, np.generic):
        value = value.item()
    text = repr(value)
    return text if len(text) <= SHOWN_CHARACTERS else text[: SHOWN_CHARACTERS - 1] + "…"
