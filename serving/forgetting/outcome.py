"""What came of asking every place: one that fails does not keep the others from being asked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from serving.forgetting.place import Found, Place, PlaceError


@dataclass(frozen=True, slots=True)
class Outcome:
    """Of a place: what was removed (None when nothing was to be), what is there now, or why that is not known."""

    place: str
    removed: Found | None
    there: Found | None
    fault: str = ""

    def document(self) -> dict[str, object]:
        """As JSON."""
        return {
            "place": self.place,
            "removed": None if self.removed is None else dict(self.removed.counts),
            "there": None if self.there is None else dict(self.there.counts),
            "note": "" if self.removed is None else self.removed.note,
            "fault": self.fault,
        }


def find_in(places: Sequence[Place], users: Sequence[str]) -> list[Outcome]:
    """What each place holds of these users."""
    return [_asked(place, users, forget=False) for place in places]


def forget_in(places: Sequence[Place], users: Sequence[str]) -> list[Outcome]:
    """Delete it in each, then look whether it is gone: events may have arrived meanwhile."""
    return [_asked(place, users, forget=True) for place in places]


def _asked(place: Place, users: Sequence[str], *, forget: bool) -> Outcome:
    removed = None
    try:
        removed = place.forget(users) if forget else None
        return Outcome(place.name, removed, place.find(users))
    except PlaceError as error:
        return Outcome(place.name, removed, None, str(error))
