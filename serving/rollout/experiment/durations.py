"""Lengths of time as resources write them: 90s, 30m, 12h, 7d."""

import re
from datetime import timedelta
from typing import Annotated

from pydantic import AfterValidator, StringConstraints, ValidationInfo

_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
PATTERN = r"^[0-9]{1,6}(\.[0-9]{1,3})?[smhd]$"
LONGEST_TEXT = 11
SHORTEST, LONGEST = timedelta(seconds=1), timedelta(days=400)
OUT_OF_RANGE = "a length of time from 1s to 400d is expected"


def length(text: str) -> timedelta:
    """The length that a duration names. Raises ValueError."""
    if not re.fullmatch(PATTERN, text):
        raise ValueError(f"{text!r} is not a duration; write a number and a unit: 90s, 30m, 12h or 7d")
    return timedelta(seconds=float(text[:-1]) * _UNITS[text[-1]])


def _checked(text: str, info: ValidationInfo) -> str:
    """What an earlier version has let begin is read as it is (see `rules.KEPT`)."""
    if not SHORTEST <= length(text) <= LONGEST and not info.context:
        raise ValueError(OUT_OF_RANGE)
    return text


Duration = Annotated[str, StringConstraints(pattern=PATTERN, max_length=LONGEST_TEXT), AfterValidator(_checked)]
