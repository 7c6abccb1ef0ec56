"""Questions about evidence, and their answers, as JSON: nothing is rounded on the way.

Sums are decimal strings of integers in units of 2**-1074 (see statistics/exact.py). Documents are closed: an unknown or
missing field is an error.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Self

from pydantic import AfterValidator, AwareDatetime, Field, model_validator

from serving.rollout.evidence.documents import CodecError as CodecError
from serving.rollout.evidence.documents import Document, built, read_document
from serving.rollout.evidence.quantiles import QuantilesQuery
from serving.rollout.experiment.evidence import Arrived, BySender, Day, Evidence, EvidenceQuery, Quality
from serving.rollout.experiment.spec import Column
from serving.rollout.statistics.moments import Moments, MomentsError
from serving.rollout.statistics.winsor import CapRule, Caps

Name = Annotated[str, Field(min_length=1, max_length=253)]
Count = Annotated[int, Field(ge=0)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Sum = Annotated[str, Field(pattern=r"^-?[0-9]{1,4000}$")]
_MOST_COLUMNS = 100


def _utc(time: datetime) -> datetime:
    return time.astimezone(UTC)


Time = Annotated[AwareDatetime, AfterValidator(_utc)]


class _QueryDocument(Document):
    experiment: Name
    uid: Name
    arms: tuple[Name, Name]
    columns: tuple[Column, ...] = Field(min_length=1, max_length=_MOST_COLUMNS)
    before: tuple[Column, ...] = Field(max_length=_MOST_COLUMNS)
    window_seconds: Finite = Field(gt=0, le=1e9)
    before_seconds: Finite = Field(ge=0, le=1e9)
    as_of: Time
    caps: dict[str, Finite]
    floors: dict[str, Finite] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _agree(self) -> Self:
        if self.arms[0] == self.arms[1]:
            raise ValueError(f"arms are {list(self.arms)}; expected two different ones")
        for name, columns in (("columns", self.columns), ("before", self.before)):
            if len(set(columns)) < len(columns):
                raise ValueError(f"{name} are {[column.name for column in columns]}; expected each once")
        known = names(self.columns, self.before)
        if unknown := sorted({*self.caps, *self.floors} - set(known)):
            raise ValueError(f"caps are given for {unknown}; the columns are {list(known)}")
        return self


class _QuantileDocument(Document):
    column: Column
    quantile: float | None = Field(default=None, ge=0.5, lt=1)
    lower_quantile: float | None = Field(default=None, gt=0, le=0.5)
    nonzero: bool = False


class _QuantilesDocument(Document):
    columns: tuple[_QuantileDocument, ...] = Field(min_length=1, max_length=_MOST_COLUMNS)
    start: Time
    end: Time
    window_seconds: Finite | None = Field(default=None, gt=0, le=1e9)

    @model_validator(mode="after")
    def _agree(self) -> Self:
        wanted = [each.column for each in self.columns]
        if len(set(wanted)) < len(wanted):
            raise ValueError(f"columns are {[column.name for column in wanted]}; expected each once")
        if self.end <= self.start:
            raise ValueError(f"the span ends at {self.end}; expected a time after its start {self.start}")
        return self


class _CapsDocument(Document):
    caps: dict[str, Finite]
    floors: dict[str, Finite] = Field(default_factory=dict)
    notes: tuple[str, ...] = ()


class _MomentsDocument(Document):
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


class _DayDocument(Document):
    day: date
    moments: dict[str, _MomentsDocument]


class _QualityDocument(Document):
    duplicates: Count
    late: Count
    unmatched: Count
    switched: Count
    capped: dict[str, Count]


class _ArrivedDocument(Document):
    exposed: Count
    others: Count


class _BySenderDocument(Document):
    name: Annotated[str, Field(max_length=253)]
    parts: dict[str, _MomentsDocument]
    without: dict[str, _MomentsDocument]


class _EvidenceDocument(Document):
    as_of: Time
    exposed: dict[str, Count]
    moments: dict[str, _MomentsDocument]
    triggered: dict[str, _MomentsDocument]
    days: tuple[_DayDocument, ...]
    quality: _QualityDocument
    arrivals: dict[str, _ArrivedDocument] | None = None
    """Missing in the answer of an older collector."""
    senders: tuple[_BySenderDocument, ...] = ()


def names(columns: Sequence[Column], before: Sequence[Column]) -> tuple[str, ...]:
    """The names of the sums, in their order."""
    return (*(column.name for column in columns), *(column.before for column in before))


def query_to_json(query: EvidenceQuery) -> bytes:
    """The question as JSON. Raises CodecError for one that has no answer."""
    document = built(
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
        floors=dict(query.floors),
    )
    return document.model_dump_json().encode()


def query_from_json(text: bytes) -> EvidenceQuery:
    """Raises CodecError."""
    found = read_document(_QueryDocument, text)
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
        floors=found.floors,
    )


def quantiles_to_json(query: QuantilesQuery) -> bytes:
    """The question as JSON. Raises CodecError for one that has no answer."""
    columns = tuple(
        built(_QuantileDocument, column=column, quantile=rule.upper, lower_quantile=rule.lower, nonzero=rule.nonzero)
        for column, rule in query.columns.items()
    )
    seconds = None if query.window is None else query.window.total_seconds()
    start, end = query.span
    document = built(_QuantilesDocument, columns=columns, start=start, end=end, window_seconds=seconds)
    return document.model_dump_json().encode()


def quantiles_from_json(text: bytes) -> QuantilesQuery:
    """Raises CodecError."""
    found = read_document(_QuantilesDocument, text)
    rules = {each.column: CapRule(each.quantile, each.lower_quantile, each.nonzero) for each in found.columns}
    window = None if found.window_seconds is None else timedelta(seconds=found.window_seconds)
    return QuantilesQuery(rules, (found.start, found.end), window)


def caps_to_json(caps: Caps) -> bytes:
    """The answer to quantiles, by column name."""
    made = built(_CapsDocument, caps=dict(caps.largest), floors=dict(caps.least), notes=caps.notes)
    return made.model_dump_json().encode()


def caps_from_json(text: bytes) -> Caps:
    """Raises CodecError."""
    found = read_document(_CapsDocument, text, ours=False)
    return Caps(found.caps, found.floors, found.notes)


def evidence_to_json(evidence: Evidence) -> bytes:
    """The answer as JSON."""
    quality = evidence.quality
    document = built(
        _EvidenceDocument,
        as_of=evidence.as_of,
        exposed=dict(evidence.exposed),
        moments=_written(evidence.moments),
        triggered=_written(evidence.triggered),
        days=tuple(built(_DayDocument, day=day.day, moments=_written(day.moments)) for day in evidence.days),
        quality=built(
            _QualityDocument,
            duplicates=quality.duplicates,
            late=quality.late,
            unmatched=quality.unmatched,
            switched=quality.switched,
            capped=dict(quality.capped),
        ),
        arrivals=None
        if evidence.arrivals is None
        else {
            event: built(_ArrivedDocument, exposed=each.exposed, others=each.others)
            for event, each in evidence.arrivals.items()
        },
        senders=tuple(
            built(_BySenderDocument, name=each.name, parts=_written(each.parts), without=_written(each.without))
            for each in evidence.senders
        ),
    )
    return document.model_dump_json(exclude_defaults=True).encode()


def evidence_from_json(text: bytes) -> Evidence:
    """Raises CodecError."""
    found = read_document(_EvidenceDocument, text, ours=False)
    return Evidence(
        as_of=found.as_of,
        exposed=found.exposed,
        moments=_moments("moments", found.moments),
        triggered=_moments("triggered", found.triggered),
        days=tuple(Day(each.day, _moments(f"days.{each.day}", each.moments)) for each in found.days),
        quality=Quality(**found.quality.model_dump()),
        arrivals=None
        if found.arrivals is None
        else {event: Arrived(each.exposed, each.others) for event, each in found.arrivals.items()},
        senders=tuple(
            BySender(
                each.name,
                _moments(f"senders.{each.name}", each.parts),
                _moments(f"senders.{each.name}", each.without),
            )
            for each in found.senders
        ),
    )


def _written(moments: Mapping[str, Moments]) -> dict[str, _MomentsDocument]:
    return {
        arm: built(
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
