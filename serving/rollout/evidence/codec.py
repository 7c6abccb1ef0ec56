"""Questions about evidence, and their answers, as JSON: nothing is rounded on the way.

Sums are decimal strings of integers in units of 2**-1074 (see statistics/exact.py). Documents are closed: an unknown or
missing field is an error.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Self, TypeVar

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, ValidationError, model_validator

from serving.rollout.experiment.evidence import Day, Evidence, EvidenceQuery, Quality
from serving.rollout.experiment.spec import Column
from serving.rollout.statistics.moments import Moments, MomentsError

Model = TypeVar("Model", bound="_Document")
Name = Annotated[str, Field(min_length=1, max_length=253)]
Count = Annotated[int, Field(ge=0)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Sum = Annotated[str, Field(pattern=r"^-?[0-9]{1,4000}$")]
_MOST_COLUMNS = 100


class CodecError(ValueError):
    """A document that cannot be read; the message names field, value and what was expected."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"{field}: {message}")
        self.field, self.message = field, message


@dataclass(frozen=True, slots=True)
class QuantilesQuery:
    """Which quantile of each column per user is wanted, over events of `span` (its end not included)."""

    columns: Mapping[Column, float]
    span: tuple[datetime, datetime]


class _Document(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


def _utc(time: datetime) -> datetime:
    return time.astimezone(UTC)


Time = Annotated[AwareDatetime, AfterValidator(_utc)]


class _QueryDocument(_Document):
    experiment: Name
    uid: Name
    arms: tuple[Name, Name]
    columns: tuple[Column, ...] = Field(min_length=1, max_length=_MOST_COLUMNS)
    before: tuple[Column, ...] = Field(max_length=_MOST_COLUMNS)
    window_seconds: Finite = Field(gt=0, le=1e9)
    before_seconds: Finite = Field(ge=0, le=1e9)
    as_of: Time
    caps: dict[str, Finite]

    @model_validator(mode="after")
    def _agree(self) -> Self:
        if self.arms[0] == self.arms[1]:
            raise ValueError(f"arms are {list(self.arms)}; expected two different ones")
        for name, columns in (("columns", self.columns), ("before", self.before)):
            if len(set(columns)) < len(columns):
                raise ValueError(f"{name} are {[column.name for column in columns]}; expected each once")
        known = names(self.columns, self.before)
        if unknown := sorted(set(self.caps) - set(known)):
            raise ValueError(f"caps are given for {unknown}; the columns are {list(known)}")
        return self


class _QuantileDocument(_Document):
    column: Column
    quantile: float = Field(ge=0.5, lt=1)


class _QuantilesDocument(_Document):
    columns: tuple[_QuantileDocument, ...] = Field(min_length=1, max_length=_MOST_COLUMNS)
    start: Time
    end: Time

    @model_validator(mode="after")
    def _agree(self) -> Self:
        wanted = [each.column for each in self.columns]
        if len(set(wanted)) < len(wanted):
            raise ValueError(f"columns are {[column.name for column in wanted]}; expected each once")
        if self.end <= self.start:
            raise ValueError(f"the span ends at {self.end}; expected a time after its start {self.start}")
        return self


class _CapsDocument(_Document):
    caps: dict[str, Finite]


class _MomentsDocument(_Document):
    columns: tuple[Name, ...] = Field(min_length=1)
    count: Count
    sums: tuple[Sum, ...]
    products: tuple[Sum, ...]

    @model_validator(mode="after")
    def _fits(self) -> Self:
        size = len(self.columns)
        if (len(self.sums), len(self.products)) != (size, size * (size + 1) // 2):
            raise ValueError(f"{len(self.sums)} sums and {len(self.products)} products do not belong to {size} columns")
        return self


class _DayDocument(_Document):
    day: date
    moments: dict[str, _MomentsDocument]


class _QualityDocument(_Document):
    duplicates: Count
    late: Count
    unmatched: Count
    switched: Count
    capped: dict[str, Count]


class _EvidenceDocument(_Document):
    as_of: Time
    exposed: dict[str, Count]
    moments: dict[str, _MomentsDocument]
    triggered: dict[str, _MomentsDocument]
    days: tuple[_DayDocument, ...]
    quality: _QualityDocument


def names(columns: Sequence[Column], before: Sequence[Column]) -> tuple[str, ...]:
    """The names of the sums, in their order."""
    return (*(column.name for column in columns), *(column.before for column in before))


def query_to_json(query: EvidenceQuery) -> bytes:
    """The question as JSON. Raises CodecError for one that has no answer."""
    document = _built(
        _QueryDocument,
        experiment=query.experiment,
        uid=query.uid,
        arms=tuple(query.arms),
        columns=tuple(query.columns),
        before=tuple(query.before),
        window_seconds=query.window.total_seconds(),
        before_seconds=query.before_span.total_seconds(),
        as_of=query.as_of,
        caps=dict(query.caps),
    )
    return document.model_dump_json().encode()


def query_from_json(text: bytes) -> EvidenceQuery:
    """Raises CodecError."""
    found = _read(_QueryDocument, text)
    return EvidenceQuery(
        experiment=found.experiment,
        uid=found.uid,
        arms=found.arms,
        columns=found.columns,
        before=found.before,
        window=timedelta(seconds=found.window_seconds),
        before_span=timedelta(seconds=found.before_seconds),
        as_of=found.as_of,
        caps=found.caps,
    )


def quantiles_to_json(query: QuantilesQuery) -> bytes:
    """The question as JSON. Raises CodecError for one that has no answer."""
    columns = tuple(
        _built(_QuantileDocument, column=column, quantile=quantile) for column, quantile in query.columns.items()
    )
    document = _built(_QuantilesDocument, columns=columns, start=query.span[0], end=query.span[1])
    return document.model_dump_json().encode()


def quantiles_from_json(text: bytes) -> QuantilesQuery:
    """Raises CodecError."""
    found = _read(_QuantilesDocument, text)
    return QuantilesQuery({each.column: each.quantile for each in found.columns}, (found.start, found.end))


def caps_to_json(caps: Mapping[str, float]) -> bytes:
    """The answer to quantiles, by column name."""
    return _built(_CapsDocument, caps=dict(caps)).model_dump_json().encode()


def caps_from_json(text: bytes) -> dict[str, float]:
    """Raises CodecError."""
    return _read(_CapsDocument, text).caps


def evidence_to_json(evidence: Evidence) -> bytes:
    """The answer as JSON."""
    quality = evidence.quality
    document = _built(
        _EvidenceDocument,
        as_of=evidence.as_of,
        exposed=dict(evidence.exposed),
        moments=_written(evidence.moments),
        triggered=_written(evidence.triggered),
        days=tuple(_built(_DayDocument, day=day.day, moments=_written(day.moments)) for day in evidence.days),
        quality=_built(
            _QualityDocument,
            duplicates=quality.duplicates,
            late=quality.late,
            unmatched=quality.unmatched,
            switched=quality.switched,
            capped=dict(quality.capped),
        ),
    )
    return document.model_dump_json().encode()


def evidence_from_json(text: bytes) -> Evidence:
    """Raises CodecError."""
    found = _read(_EvidenceDocument, text)
    return Evidence(
        as_of=found.as_of,
        exposed=found.exposed,
        moments=_moments("moments", found.moments),
        triggered=_moments("triggered", found.triggered),
        days=tuple(Day(each.day, _moments(f"days.{each.day}", each.moments)) for each in found.days),
        quality=Quality(**found.quality.model_dump()),
    )


def _written(moments: Mapping[str, Moments]) -> dict[str, _MomentsDocument]:
    return {
        arm: _built(
            _MomentsDocument,
            columns=each.columns,
            count=each.count,
            sums=tuple(map(str, each.sums)),
            products=tuple(map(str, each.products)),
        )
        for arm, each in moments.items()
    }


def _moments(field: str, documents: Mapping[str, _MomentsDocument]) -> dict[str, Moments]:
    try:
        return {arm: Moments.from_json(each.model_dump()) for arm, each in documents.items()}
    except MomentsError as cause:
        raise CodecError(field, str(cause)) from cause


def _built(kind: type[Model], **fields: object) -> Model:
    try:
        return kind.model_validate(fields)
    except ValidationError as cause:
        raise _error(cause) from cause


def _read(kind: type[Model], text: bytes) -> Model:
    try:
        return kind.model_validate_json(text)
    except ValidationError as cause:
        raise _error(cause) from cause


def _error(cause: ValidationError) -> CodecError:
    found = cause.errors(include_url=False, include_context=False)[0]
    field = ".".join(map(str, found["loc"])) or "document"
    if found["type"] == "missing":
        return CodecError(field, "is missing")
    value = "" if found["type"] == "value_error" else f"is {found['input']!r:.200}; "
    return CodecError(field, value + found["msg"].removeprefix("Value error, "))
