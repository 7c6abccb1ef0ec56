"""Columns of numbers that became text: by a dash where the number is not known, a currency, a decimal comma."""

import re
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from training.data.delimited import CODE, NUMBER

MOSTLY = 0.5  # share of the values that are numbers, from which the others are taken for slips

_PLACEHOLDERS = frozenset(
    {"-", "--", "–", "—", ".", "?", "n/a", "na", "#n/a", "n.a.", "nan", "nil", "none", "null", "missing", "unknown"}
    | {"tbd", "inf", "+inf", "-inf", "infinity", "-infinity"}
)
_DECIMAL = re.compile(r"[.eE]")
_AMOUNT = re.compile(
    r"\s*(?:[€$£¥]|[A-Z]{3}\s)?\s*[+-]?\s*\d{1,3}(?:[.,' \u00a0\u202f]?\d{3})*(?:[.,]\d+)?\s*(?:[€$£¥%]|[A-Z]{3})?\s*"
)


@dataclass(frozen=True, slots=True)
class NumberText:
    """Rows [rows] that keep a text column from being the numbers that it holds, and how many are numbers."""

    rows: npt.NDArray[np.bool_]
    numbers: int


def number_text(values: "pd.Series[Any]") -> NumberText | None:
    """What keeps a text column from being numbers; None where it is text in its own right.

    It is numbers as text where all values are numbers and one has a decimal point, or at least half are and the others
    are placeholders (a dash, n/a, an empty text) or amounts ("€ 12", "1,234.50", "12,50"), or all are such amounts.
    Whole numbers alone stay text, as they may be codes; a value with a leading zero is one.
    """
    distinct = {value: _sort_of(value) for value in values.unique() if isinstance(value, str)}
    sorts = set(distinct.values())
    if "other" in sorts or sorts in (set(), {"whole"}, {"placeholder"}):
        return None
    each = np.array([distinct.get(value, "null") for value in values], dtype=object)
    numbers = np.isin(each, ("whole", "decimal"))
    given = int((each != "null").sum())
    if sorts <= {"whole", "decimal"}:
        return NumberText(each == "decimal", int(numbers.sum()))
    if sorts <= {"amount", "placeholder"} or numbers.sum() >= MOSTLY * given:
        return NumberText((each != "null") & ~numbers, int(numbers.sum()))
    return None


def _sort_of(value: str) -> str:
    if CODE.match(value):
        return "other"
    if NUMBER.fullmatch(value):
        return "decimal" if _DECIMAL.search(value) else "whole"
    text = value.strip().casefold()
    if not text or text in _PLACEHOLDERS:
        return "placeholder"
    return "amount" if _AMOUNT.fullmatch(value) else "other"
