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


class Basis(StrEnum):
    """What a sign was judged by."""

    RELATIVE = "relative"
    """The difference; its interval can be told as a part of stable's value, too, and excludes 0 where that one does."""
    ABSOLUTE = "absolute"
    """The difference alone: stable's value is not told from 0, so there is no relative interval."""
    DENOMINATOR = "denominator"
    """The candidate has lost what the ratio is divided by: the ratio itself says nothing."""


class Estimate(Kept):
    """A metric at a look: `relative` is candidate over stable, minus 1, `absolute` the difference.

    An old state has only the relative one. Guardrails' intervals are of two one-sided bounds.
    """

    metric: str
    stable: float | None = Field(description="Its value in that arm; null while it cannot be computed")
    candidate: float | None
    relative: float | None
    low: float | None = Field(description="Of the relative effect; null where there is no such interval")
    high: float | None
    level: float = Field(description="1 - alpha of the interval; of each bound, for a guardrail")
    because: str = Field(default="", description="Why there is no interval at all, or what is odd about it")
    absolute: float | None = Field(default=None, description="Candidate minus stable, in the metric's own unit")
    absolute_low: float | None = Field(default=None, description="Of the difference: what the sign is judged by")
    absolute_high: float | None = None
    judged_by: Basis | None = Field(default=None, description="Null where nothing can be judged: `because` says why")
    not_relative: str = Field(default="", description="Why there is no relative interval beside the absolute one")
    stable_deviation: float | None = Field(
        default=None, description="Standard deviation of a user's number (a ratio's: linearised; after CUPED)"
    )
    candidate_deviation: float | None = None
    kept: bool | None = Field(
        default=None, description="A guardrail's margin: shown to be kept, shown to be broken, or neither yet"
    )


class Sender(Kept):
    """Who sent outcomes, by its token's name."""

    name: str
    outcomes: dict[str, tuple[int, int]] = Field(description="By event, of counted users: stable, candidate")
    p: float = Field(
        default=1.0,
        description="That they differ between the arms as all others' do; small: they do not. Anytime-valid",
    )


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
    without_cuped: Estimate | None = Field(
        default=None, description="The primary metric without CUPED, where it is judged with it; never decides"
    )
    sums: dict[str, tuple[float, float]] = Field(
        default_factory=dict, description="Sum of each column over the users counted: stable, candidate"
    )
    deviations: dict[str, tuple[float, float]] = Field(
        default_factory=dict, description="Standard deviation of each column over those users: stable, candidate"
    )
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
    before_p: float = Field(
        default=1.0, description="Smallest p-value so far of arms alike before the first exposure, anytime-valid"
    )
    doubts: tuple[str, ...] = Field(
        default=(), description="Why the sample is not to be believed: no stage and no win come from it"
    )
    missing: dict[str, str] = Field(
        default_factory=dict, description="By event of a metric, why its outcomes seem to go astray"
    )
    senders: tuple[Sender, ...] = Field(default=(), description="Where outcomes are several senders'")
    unlike: tuple[str, ...] = Field(
        default=(), description="What is odd about a sender; a doubt if a metric rests on it"
    )


class Lapse(Kept):
    """A condition that lasts: `seconds` are those that were watched."""

    since: datetime
    seconds: float = 0.0


class KeptReading(Kept):
    """What an operational guardrail read last. `value` None: no data, which is no pass."""

    name: str
    at: datetime
    value: float | None
    limit: float
    breached: bool = False
    few: bool = Field(default=False, description="No value, as too few rankings came")
    above: Lapse | None = Field(default=None, description="Above its limit in a row; decides for queries of one's own")
    detail: str = ""


class Entry(Kept):
    """A line of the decision log."""

    at: datetime
    reason: str
    message: str
    warning: bool = False


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
    caps: dict[str, float] = Field(default_factory=dict, description="Largest number of a column that counts")
    floors: dict[str, float] = Field(default_factory=dict, description="Least number of a column that counts")
    caps_read: bool = Field(default=False, description="Whether the time before was asked for caps; it may have none")
    ratio_least_p: float = 1.0
    before_least_p: float = 1.0
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
    blind: Lapse | None = Field(default=None, description="Guardrails or evidence cannot be read")
    few: Lapse | None = Field(default=None, description="Too few rankings or users to judge by: the stage waits")
    lost: Lapse | None = Field(default=None, description="The candidate is not ready while users are on it")
    losses: tuple[Lapse, ...] = Field(default=(), description="Earlier times of that, of the last day")
    draining: Lapse | None = Field(default=None, description="The assignment is gone; transformers take notice")
    warmed: bool = False
    drained: bool = Field(default=False, description="Users have left the candidate: it may be removed")
    promotion_begun: bool = Field(default=False, description="Stable is being replaced: there is no way back")
    replaced: int = Field(default=0, description="Objects of the target that serve the candidate's bundle")
    reverts: int = Field(default=0, description="How often somebody put the target back while it was promoted")
    resting: Lapse | None = Field(default=None, description="After that, before it is replaced again")
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
