"""Lengths of time as resources write them: 90s, 30m, 12h, 7d."""

import re
from datetime import timedelta
from typing import Annotated

from pydantic import AfterValidator, StringConstraints

_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
PATTERN = r"^[0-9]{1,6}(\.[0-9]{1,3})?[smhd]$"


def length(text: str) -> timedelta:
    """The length that a duration names. Raises ValueError."""
    if not re.fullmatch(PATTERN, text):
        raise ValueError(f"{text!r} is no duration; write a number and a unit: 90s, 30m, 12h or 7d")
    return timedelta(seconds=float(text[:-1]) * _UNITS[text[-1]])


def _checked(text: str) -> str:
    length(text)
    return text


Duration = Annotated[str, StringConstraints(pattern=PATTERN), AfterValidator(_checked)]
