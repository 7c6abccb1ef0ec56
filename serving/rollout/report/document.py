"""The report as one JSON document: every number that the page and the plots show, and every sentence.

Made by `build`; whoever has the document can draw page and plots again without the cluster.
"""

from __future__ import annotations

from datetime import date, datetime
from enum import StrEnum
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from serving.rollout.experiment.state import Basis, Entry, Outcome, Phase

VERSION = 1


class Piece(BaseModel):
    """Base: closed, frozen, in camelCase outside; no NaN and no infinity."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", alias_generator=to_camel, populate_by_name=True, allow_inf_nan=False
    )


class End(StrEnum):
    """What the report is about: the verdict, or why there is none."""

    WAITING = "waiting"
    """It has not begun, or runs without a verdict yet."""
    WIN = "win"
    HARM = "harm"
    INCONCLUSIVE = "inconclusive"
    GUARDRAIL = "guardrail"
    RATIO = "ratio"
    NO_DATA = "noData"
    FAILED = "failed"
    """Rolled back for another reason, which the message gives."""
    REJECTED = "rejected"
    ABORTED = "aborted"


class Verdict(Piece):
    """What is said first."""

    end: End
    phase: Phase
    outcome: Outcome
    ended: bool
    headline: str
    because: tuple[str, ...]


class Point(Piece):
    """A look. `extra` is what the candidate's users did more than as many on stable, in the metric's unit."""

    at: datetime
    share: float | None = Field(description="Percent of users in the candidate")
    users_stable: int
    users_candidate: int
    relative: float | None
    low: float | None
    high: float | None
    extra: float | None
    extra_low: float | None
    extra_high: float | None
    exposed_stable: int
    exposed_candidate: int
    candidate_part: float | None = Field(description="The candidate's part of exposed users; one half is right")
    ratio_p: float


class MetricView(Piece):
    """A metric at the newest look. `low`, `high` null: open to that side."""

    name: str
    role: Literal["primary", "secondary", "guardrail"]
    meaning: str
    better: Literal["increase", "decrease"]
    stable: float | None
    candidate: float | None
    relative: float | None
    low: float | None
    high: float | None
    level: float
    because: str = Field(description="Why there is no interval, or what is odd about it")
    absolute: float | None = Field(None, description="Candidate minus stable")
    absolute_low: float | None = Field(None, description="Of the difference: what the sign is judged by")
    absolute_high: float | None = None
    judged_by: Basis | None = None
    not_relative: str = Field("", description="Why there is no relative interval beside the absolute one")
    stable_deviation: float | None = Field(None, description="Standard deviation of a user's number")
    candidate_deviation: float | None = None
    margin: float | None = Field(None, description="Largest relative loss that is accepted, of a guardrail")
    judged: str


class ArmView(Piece):
    """An arm's users."""

    name: str
    exposed: int
    counted: int = Field(description="Those whose attribution window has closed")
    value: float | None


class SumView(Piece):
    """A column over the users that count: its sum in each arm, and the standard deviation of a user's number."""

    name: str
    meaning: str
    stable_sum: float
    candidate_sum: float
    stable_deviation: float | None
    candidate_deviation: float | None


class ProgressView(Piece):
    """How far it is. Dates are projections at the pace of the last days: null where nothing goes on."""

    users: int = Field(description="Of both arms, with a closed window")
    planned_users: int
    users_part: float
    watched_days: float
    minimum_days: float
    maximum_days: float
    time_part: float = Field(description="Of the longest time")
    per_day: float | None = None
    planned_at: datetime | None = Field(default=None, description="When the planned users are reached")
    win_from: datetime | None = None
    ends_by: datetime | None = None
    projected_end: datetime | None = None
    said: tuple[str, ...] = ()


class RatioView(Piece):
    """Whether the arms' sizes fit their equal shares."""

    p: float
    alpha: float
    mismatch: bool


class LimitView(Piece):
    """An operational guardrail. `used` is value over limit."""

    name: str
    meaning: str
    value: float | None
    limit: float
    value_text: str
    limit_text: str
    used: float | None
    breached: bool
    detail: str
    at: datetime | None


class GroupView(Piece):
    """The primary metric among some of the users; descriptive, one of many."""

    name: str
    users_stable: int | None
    users_candidate: int | None
    relative: float | None
    low: float | None
    high: float | None


class DayView(GroupView):
    """Users first exposed on a day (UTC)."""

    day: date


class TriggerView(Piece):
    """Users whom the candidate could move: those who were ranked captioned items.

    `among` them, `diluted` to all users, and the `others`, in whom there should be no effect. `sizes_p` is the p-value
    of their even split: what triggers must not depend on the arm.
    """

    share: float = Field(description="Of all users, both arms together")
    among: GroupView
    diluted: GroupView
    others: GroupView | None
    sizes_p: float


class QualityView(Piece):
    """What was set aside or noticed while joining exposures and outcomes."""

    name: str
    count: int
    meaning: str


class SenderView(Piece):
    """What a sender of outcomes brought of an event, of the users counted, beside all others."""

    name: str
    event: str
    stable: int
    candidate: int
    p: float = Field(description="That it differs between the arms as all others' does, of all its events together")
    unlike: bool


class Word(Piece):
    """How a thing was done."""

    term: str
    words: str


class Report(Piece):
    """All of it. Shares are percent, lifts are fractions of stable."""

    format_version: Literal[1] = 1
    made_at: datetime
    experiment: str
    namespace: str
    uid: str
    model: str
    target: str
    bundle: str
    bundle_id: str | None
    started: datetime | None
    ended_at: datetime | None
    given_reason: str
    hypothesis: str = ""
    owner: str = ""
    verdict: Verdict
    doubts: tuple[str, ...] = Field((), description="Why the sample, and so every lift here, is not to be believed")
    progress: ProgressView | None = None
    alpha: float
    method: str
    planned_users: int
    points: tuple[Point, ...]
    metrics: tuple[MetricView, ...] = Field(description="Primary, secondary, guardrails; empty before the first look")
    without_cuped: MetricView | None = Field(None, description="The primary metric without CUPED; never decides")
    sums: tuple[SumView, ...] = Field((), description="Raw, before CUPED; of the look that the metrics are from")
    arms: tuple[ArmView, ...]
    ratio: RatioView | None
    limits: tuple[LimitView, ...]
    triggered: GroupView | None
    weekdays: tuple[GroupView, ...]
    days: tuple[DayView, ...]
    notes: tuple[str, ...] = Field(description="Whether days, and days of the week, differ")
    trigger: TriggerView | None = Field(description="With evidence; `triggered` is what the controller saw")
    quality: tuple[QualityView, ...] = Field(description="Empty where evidence was not asked for")
    missing: tuple[str, ...] = Field((), description="Events of metrics that seem to go astray")
    senders: tuple[SenderView, ...] = Field((), description="Empty where one sender sent all outcomes")
    log: tuple[Entry, ...]
    would_change: tuple[str, ...]
    how: tuple[Word, ...]
    unit: str = Field(description="Of `extra`; empty where it cannot be told")

    @property
    def primary(self) -> MetricView | None:
        """The metric that decides."""
        return next((each for each in self.metrics if each.role == "primary"), None)

    def to_json(self) -> str:
        """The document."""
        return self.model_dump_json(by_alias=True, indent=1)
