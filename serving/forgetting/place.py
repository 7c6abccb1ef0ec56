"""A place where something about a person may be kept, as `sightline user` sees it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol


class PlaceError(Exception):
    """A place that could not be asked or did not do it; the message names what to do."""


@dataclass(frozen=True, slots=True)
class Found:
    """What a place holds, or held, of the people asked for: how many, by what it is. `note` is for a person to read."""

    counts: Mapping[str, int]
    note: str = ""

    @property
    def total(self) -> int:
        """How many things there are."""
        return sum(self.counts.values())

    def __str__(self) -> str:
        held = ", ".join(f"{count} {what}" for what, count in self.counts.items() if count)
        return "; ".join(filter(None, (held or "nothing", self.note)))


class Place(Protocol):
    """Each method raises PlaceError."""

    name: str

    def find(self, users: Sequence[str]) -> Found:
        """What is kept of these users, by their own ids."""
        ...

    def forget(self, users: Sequence[str]) -> Found:
        """Delete it, from the files too; returns what was deleted."""
        ...
