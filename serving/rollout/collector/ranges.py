"""Which values an outcome may have, as the site states it: one sender's single number then decides nothing."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

from models.experiments.events import EVENT_NAME

EVERY_OTHER = "*"
"""The name that stands for all events without a range of their own."""
FORM = "EVENT=LEAST:MOST, such as purchase=0:5000,click=0:1 (* names every other event)"
_NAME = re.compile(EVENT_NAME)


@dataclass(frozen=True, slots=True)
class Range:
    """Values from `least` to `most`, both included."""

    least: float
    most: float

    def __contains__(self, value: float) -> bool:
        return self.least <= value <= self.most

    def __str__(self) -> str:
        return f"{self.least:g} to {self.most:g}"


class ValueRanges:
    """Ranges by the event's name."""

    def __init__(self, ranges: Mapping[str, Range]) -> None:
        self._ranges = dict(ranges)

    def of(self, event: str) -> Range | None:
        """The event's range, or None: its values are not bounded."""
        return self._ranges.get(event) or self._ranges.get(EVERY_OTHER)


def read_ranges(text: str) -> ValueRanges:
    """From EVENT=LEAST:MOST, separated by commas or spaces. Raises ValueError, which names the entry and the form."""
    found: dict[str, Range] = {}
    for entry in text.replace(",", " ").split():
        name, _, numbers = entry.partition("=")
        if name != EVERY_OTHER and not _NAME.fullmatch(name):
            raise ValueError(f"{entry!r} names no event; expected {FORM}")
        if name in found:
            raise ValueError(f"{entry!r} is a second range of {name}; expected one for each event")
        found[name] = _range(entry, numbers)
    return ValueRanges(found)


def _range(entry: str, numbers: str) -> Range:
    least, _, most = numbers.partition(":")
    try:
        found = Range(float(least), float(most))
    except ValueError:
        raise ValueError(f"{entry!r} has no two numbers; expected {FORM}") from None
    if not (math.isfinite(found.least) and math.isfinite(found.most) and found.least < found.most):
        raise ValueError(f"{entry!r} is not a range; expected finite numbers, the smaller one first: {FORM}")
    return found
