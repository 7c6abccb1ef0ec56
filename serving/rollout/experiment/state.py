"""Where an experiment stands: all that its controller remembers, kept in the resource's `status.state`."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from serving.rollout.experiment.spec import ExperimentSpec


class Kept(BaseModel):
    """Base: closed, frozen, in camelCase outside."""

    model_config = ConfigDict(frozen=True, extra="forbid", alias_generator=to_camel, populate_by_name=True)


class Phase(StrEnum):
    """Steps of an experiment's life; the last six are ends."""

    PENDING = "Pending"
    PREPARING = "Preparing"
    """The bundle is verified, the candidate deployed, started and warmed."""
    SHADOW = "Shadow"
    RUNNING = "Running"
    WAITING = "WaitingForApproval"
    """It has won; shares stay as they are."""
    PROMOTING = "Promoting"
    STOPPING = "Stopping"
    """Users are back on stable, the candidate is being removed; `end` says what comes then."""
    PROMOTED = "Promoted"
    WON = "Won"
    """It has won and `promotion: report` leaves the change to people."""
    ROLLED_BACK = "RolledBack"
    INCONCLUSIVE = "Inconclusive"
    REJECTED = "Rejected"
    """The candidate never served: a bundle that cannot be used, a second experiment on the same model."""
    ABORTED = "Aborted"

    @property
    def ended(self) -> bool:
        """Whether nothing follows."""
        return self in _ENDS


_ENDS = frozenset({Phase.PROMOTED, Phase.WON, Phase.ROLLED_BACK, Phase.INCONCLUSIVE, Phase.REJECTED, Phase.ABORTED})


class Outcome(StrEnum):
    """What the primary metric says."""

    PENDING = "pending"
    WIN = "win"
    HARM = "harm"
    INCONCLUSIVE = "inconclusive"


class Estimate(Kept):
    """A metric at a look: candidate over stable, minus 1. `low` and `high` may be infinite, written as null."""

    metric: str
    stable: float | None = Field(description="Its value in that arm; null while it cannot be computed")
    candidate: float | None
    relative: float | None
    low: float | None
    high: float | None
    level: float = Field(description="1 - alpha of the interval; of each bound, for a guardrail")
    because: str = Field(default="", description="Why there is no interval, or what is odd about it")


class Look(Kept):
    """What was seen at one moment."""

    at: datetime
    users: tuple[int, int] = Field(description="Users in the sums: stable, candidate")
    exposed: tuple[int, int]
    ratio_p: float = Field(description="Smallest p-value of the arms' sizes so far, anytime-valid")
    share: float | None = Field(
        default=None, description="Percent of users in the candidate at that moment: the report's stages"
    )
    primary: Estimate
    secondary: tuple[Estimate, ...] = ()
    guardrails: tuple[Estimate, ...] = ()
    variance_left: float = 1.0
    outcome: Outcome
    because: str = Field(default="", description="What the outcome rests on, or what it waits for")
    breached: tuple[str, ...] = Field(default=(), description="Metric guardrails that are worse than their margin")
    triggered: Estimate | None = Field(
        default=None, description="The primary metric among users who were ranked captioned items; never decides"
    )
    information: float | None = Field(
        default=None, description="Share of the planned users, if this was a planned look"
    )
    quality: dict[str, int] = Field(default_factory=dict, description="Events set aside: duplicates, late, ...")


class KeptReading(Kept):
    """What an operational guardrail read last. `value` None: no data, which is no pass."""

    name: str
    at: datetime
    value: float | None
    limit: float
    breached: bool = False
    detail: str = ""


class Entry(Kept):
    """A line of the decision log."""

    at: datetime
    reason: str
    message: str
    warning: bool = False


class Lapse(Kept):
    """A condition that lasts: `seconds` are those that were watched."""

    since: datetime
    seconds: float = 0.0


class State(Kept):
    """Everything that is remembered. A new experiment has only `phase`, `since`, `salt`."""

    phase: Phase = Phase.PENDING
    since: datetime
    salt: str
    revision: int = Field(default=1, description="Of the assignment; rises with every change of what users get")
    stage: int = Field(default=0, description="Place in the schedule's stages")
    stage_since: datetime | None = None
    exposed_since: datetime | None = Field(default=None, description="When users first met the candidate")
    bundle_id: str | None = None
    contract_digest: str | None = None
    predictor_host: str | None = None
    caps: dict[str, float] = Field(default_factory=dict)
    ratio_least_p: float = 1.0
    looks: tuple[Look, ...] = Field(default=(), description="The newest, thinned: what the report draws")
    looked_at: datetime | None = None
    spent_shares: tuple[float, ...] = Field(
        default=(), description="Shares of information of the looks taken (group-sequential)"
    )
    readings: tuple[KeptReading, ...] = Field(
        default=(), description="The newest of each operational guardrail, in order"
    )
    stepped_at: datetime | None = Field(default=None, description="The newest step")
    watched: float = Field(
        default=0.0, description="Seconds that users met the candidate while everything could be read"
    )
    stage_watched: float = Field(default=0.0, description="Those of them in the running stage, or in the shadow")
    stage_exposed: tuple[int, int] = Field(default=(0, 0), description="Users exposed when the stage began")
    stage_looked: bool = Field(default=False, description="Whether this stage has had a look")
    starting: Lapse | None = Field(default=None, description="Waiting for the candidate's pods")
    blind: Lapse | None = Field(default=None, description="Without guardrails or evidence")
    lost: Lapse | None = Field(default=None, description="The candidate is not ready while users are on it")
    draining: Lapse | None = Field(default=None, description="The assignment is gone; transformers take notice")
    warmed: bool = False
    drained: bool = Field(default=False, description="Users have left the candidate: it may be removed")
    promotion_begun: bool = Field(default=False, description="Stable is being replaced: there is no way back")
    promoted: bool = Field(default=False, description="Nothing is left to do of the promotion")
    started: ExperimentSpec | None = Field(
        default=None, description="The spec that is followed: as it began, with the changes that may be made since"
    )
    stable_identity: str | None = Field(
        default=None, description="What stable served when users first met the candidate"
    )
    paused: bool = False
    change_refused: str = Field(default="", description="What was edited in the spec and is not followed")
    refusal: str = Field(default="", description="What the cluster refused for good")
    outcome: Outcome = Outcome.PENDING
    end: Phase | None = Field(default=None, description="The end that Stopping leads to")
    reason: str = ""
    message: str = ""
    log: tuple[Entry, ...] = ()
