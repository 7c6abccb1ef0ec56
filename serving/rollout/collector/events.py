"""From a request's JSON to rows that can be stored; each event that cannot is a fault of its own."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import orjson
from pydantic import ValidationError

from models.experiments.events import EXPOSURE_TYPE, MOST_DETAIL, Exposure, Outcome, key_fingerprint
from serving.rollout.collector.faults import Fault, RequestError, first_fault, shown
from serving.rollout.collector.ranges import ValueRanges

FUTURE_SECONDS = 300.0
"""Clocks may differ by so much: an event of a later time is refused."""
_SMALLEST_VALUE = 1e-100  # products of smaller ones cannot be summed exactly
_LARGEST_NUMBER = 1 << 40  # of what is counted
_MOST_ATTRIBUTES = 32  # of an envelope
_ENVELOPE = f"a CloudEvent with specversion 1.0, an id, type {EXPOSURE_TYPE} and data"


@dataclass(frozen=True, slots=True)
class ExposureRow:
    """An exposure as it is stored."""

    index: int
    id: bytes
    user: bytes
    event: Exposure
    detail: str | None


@dataclass(frozen=True, slots=True)
class OutcomeRow:
    """An outcome as it is stored: without the user's own id."""

    index: int
    id: bytes
    user: bytes
    event: str
    time: float
    value: float
    item: str | None


Row = TypeVar("Row", ExposureRow, OutcomeRow)


@dataclass(frozen=True, slots=True)
class Batch(Generic[Row]):
    """What a request brought."""

    rows: Sequence[Row]
    faults: Sequence[Fault]


class EventReader:
    """Reads events.

    `now` gives seconds since 1970; `age` is the most that an event may be older, in seconds; `ranges` are the values
    that outcomes may have.
    """

    def __init__(
        self, key: bytes, *, now: Callable[[], float], age: float, limit: int, ranges: ValueRanges | None = None
    ) -> None:
        self._key, self._now, self._age, self._limit = key, now, age, limit
        self._ranges = ranges or ValueRanges({})
        self.key_fingerprint = key_fingerprint(key)
        self._short_key = hashlib.sha256(key).digest()  # blake2b takes at most 64 bytes

    def exposures(self, body: bytes) -> Batch[ExposureRow]:
        """From a batch of CloudEvents. Raises RequestError for a body that is none."""
        return self._read(self._list(body, "a JSON array of CloudEvents", None), self._exposure)

    def outcomes(self, body: bytes) -> Batch[OutcomeRow]:
        """From an array, or an object with the array `outcomes`. Raises RequestError for a body that is none."""
        return self._read(self._list(body, 'a JSON array, or {"outcomes": [...]}', "outcomes"), self._outcome)

    def users(self, body: bytes) -> list[bytes]:
        """Pseudonyms, from an array of ids or an object with the array `users`. Raises RequestError."""
        form = '{"users": ["id", ...]}'
        entries = self._list(body, form, "users")
        if not entries:
            raise RequestError(422, "users", f"no users are named; expected {form}")
        for index, entry in enumerate(entries):
            if not isinstance(entry, str) or not 1 <= len(entry) <= 512:
                raise RequestError(422, f"users[{index}]", f"is {shown(entry)}; expected a text of 1 to 512 characters")
        return [self._user(entry) for entry in entries]

    def _list(self, body: bytes, form: str, name: str | None) -> list[Any]:
        try:
            document = orjson.loads(body)
        except orjson.JSONDecodeError as cause:
            raise RequestError(400, "body", f"is not JSON ({cause}); expected {form}") from cause
        if name is not None and isinstance(document, dict) and set(document) == {name}:
            document = document[name]
        if not isinstance(document, list):
            raise RequestError(400, "body", f"is {shown(document)}; expected {form}")
        if len(document) > self._limit:
            raise RequestError(413, "body", f"has {len(document)} entries; expected at most {self._limit}: split it")
        return document

    def _read(self, entries: list[Any], read: Callable[[int, Any], Row | Fault]) -> Batch[Row]:
        rows: list[Row] = []
        faults: list[Fault] = []
        for index, entry in enumerate(entries):
            found = read(index, entry)
            if isinstance(found, Fault):
                faults.append(found)
            else:
                rows.append(found)
        return Batch(rows, faults)

    def _exposure(self, index: int, entry: Any) -> ExposureRow | Fault:
        if not isinstance(entry, dict) or entry.get("specversion") != "1.0" or entry.get("type") != EXPOSURE_TYPE:
            return Fault(index, "event", shown(entry), _ENVELOPE)
        if len(entry) > _MOST_ATTRIBUTES:
            return Fault(index, "event", f"{len(entry)} attributes", f"at most {_MOST_ATTRIBUTES}")
        try:
            event = Exposure.model_validate(entry.get("data"))
        except ValidationError as cause:
            field, value, expected = first_fault(cause)
            return Fault(index, f"data.{field}", value, expected)
        if entry.get("id") != event.id:
            return Fault(index, "id", shown(entry.get("id")), f"the id of its data, {shown(event.id)}")
        for field, number, most in (
            ("revision", event.revision, _LARGEST_NUMBER),
            ("candidates", event.candidates, _LARGEST_NUMBER),
            ("captioned", event.captioned, event.candidates),
        ):
            if number > most:
                return Fault(index, f"data.{field}", str(number), f"at most {most}")
        if (size := sum(map(len, event.items))) > MOST_DETAIL:
            return Fault(index, "data.items", f"{size} characters", f"at most {MOST_DETAIL} in all items together")
        return self._untimely(index, "data.time", event.time) or ExposureRow(
            index, self._id(event.id), bytes.fromhex(event.user), event, _detail(event)
        )

    def _outcome(self, index: int, entry: Any) -> OutcomeRow | Fault:
        try:
            event = Outcome.model_validate(entry, strict=True)
        except ValidationError as cause:
            return Fault(index, *first_fault(cause))
        if 0 < abs(event.value) < _SMALLEST_VALUE:
            return Fault(index, "value", shown(event.value), f"0, or a magnitude of at least {_SMALLEST_VALUE:g}")
        stated = self._ranges.of(event.event)
        if stated is not None and event.value not in stated:
            return Fault(index, "value", shown(event.value), f"{stated}, the range of {event.event} (--value-ranges)")
        return self._untimely(index, "time", event.time) or OutcomeRow(
            index, self._id(event.id), self._user(event.user), event.event, event.time, event.value, event.item
        )

    def _untimely(self, index: int, field: str, time: float) -> Fault | None:
        now = self._now()
        if time > now + FUTURE_SECONDS:
            return Fault(
                index, field, repr(time), f"seconds since 1970, at most {now + FUTURE_SECONDS:.0f}: clocks differ"
            )
        if time < now - self._age:
            return Fault(index, field, repr(time), f"seconds since 1970, at least {now - self._age:.0f}: the retention")
        return None

    def _user(self, user_id: str) -> bytes:
        """What `models.experiments.events.pseudonym` gives, as bytes."""
        return hmac.digest(self._key, user_id.encode(), "sha256")[:16]

    def _id(self, event_id: str) -> bytes:
        """Of an event's id, which may have a user's id in it."""
        return hashlib.blake2b(event_id.encode(), digest_size=16, key=self._short_key).digest()


def _detail(event: Exposure) -> str | None:
    """What evidence never asks for, as JSON; None when there is nothing of it."""
    if not (event.fallback or event.degraded or event.items or event.scores):
        return None
    kept = {"fallback": event.fallback, "degraded": event.degraded, "items": event.items, "scores": event.scores}
    return orjson.dumps(kept).decode()
