"""The `spec` of an Experiment (sightline.dev/v1alpha1): closed, every field with what it means.

The custom resource's schema is made from these classes; a file for `sightline experiment start` has the same shape.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from enum import StrEnum
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationInfo, model_validator
from pydantic.alias_generators import to_camel

from serving.rollout.experiment.durations import Duration, length
from serving.rollout.experiment.rules import KEPT, RULES

GROUP, VERSION, KIND, PLURAL = "sightline.dev", "v1alpha1", "Experiment", "experiments"

Name = Annotated[str, StringConstraints(pattern=r"^[a-z]([a-z0-9-]{0,29}[a-z0-9])?$")]
"""A name of ours becomes part of object names, which KServe and Kubernetes cut at 63 characters."""
ObjectName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$")]
EventName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,62}$")]
Text = Annotated[str, StringConstraints(max_length=253)]
LongText = Annotated[str, StringConstraints(max_length=2048)]
Query = Annotated[str, StringConstraints(max_length=32768)]
Percent = Annotated[float, Field(ge=0, le=100)]
Probability = Annotated[float, Field(gt=0, lt=1)]

EXPOSURE = "exposure"
"""The event that a ranking itself is."""


class Part(BaseModel):
    """Base of all parts: closed, frozen, in camelCase outside; obeys its rules."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", alias_generator=to_camel, populate_by_name=True, allow_inf_nan=False
    )

    @model_validator(mode="after")
    def _obeys(self, info: ValidationInfo) -> Self:
        broken = [rule.says for rule in RULES.get(type(self).__name__, ()) if not rule.holds(self)]
        if broken and info.context != KEPT:
            raise ValueError("; ".join(broken))
        return self


class Target(Part):
    """What serves now."""

    kind: Literal["InferenceService", "Deployment"] = Field(description="Who runs Triton: KServe, or the chart itself")
    name: ObjectName = Field(description="Name of the InferenceService, or of the ranker's Deployment")
    transformer: ObjectName | None = Field(
        default=None, description="Name of the transformer's Deployment (kind Deployment)"
    )
    model: Text = Field(default="ranker", min_length=1, description="Name of the served model")


class Candidate(Part):
    """What may replace it."""

    bundle: LongText = Field(
        min_length=1,
        description="The bundle: an entry of a model store, s3://bucket/models/ranker/7, or s3://…/7@sha256:… pinned",
    )
    replicas: int = Field(default=1, ge=1, le=100, description="Pods of the candidate's Triton")
    start_limit: Duration = Field(default="30m", description="Time to become ready; rejected after that")


class Stage(Part):
    """A step of the schedule."""

    share: Annotated[float, Field(gt=0, le=50)] = Field(
        description="Percent of users in the candidate; as many are compared on stable"
    )
    hold: Duration = Field(default="1h", description="Time before the next stage; the last one lasts until the verdict")


class Schedule(Part):
    """How the candidate meets users."""

    shadow_share: Percent = Field(
        default=0.0, description="Percent of users whose rankings the candidate scores unseen, first"
    )
    shadow_hold: Duration = Field(default="1h", description="Time of that")
    stages: tuple[Stage, ...] = Field(
        default=(Stage(share=1), Stage(share=5), Stage(share=25), Stage(share=50)), min_length=1, max_length=20
    )


class Aggregate(StrEnum):
    """How a user's events become one number."""

    SUM = "sum"
    COUNT = "count"
    ANY = "any"


class Column(Part):
    """A number per user: events of one name between first exposure and the end of the attribution window."""

    event: EventName = Field(description="Name of the outcome; `exposure` are the rankings themselves")
    aggregate: Aggregate = Field(
        default=Aggregate.SUM, description="Sum of the values, count of events, or 1 if there is any"
    )

    @property
    def name(self) -> str:
        """The column's name in the sums."""
        return f"{self.event}_{self.aggregate}"

    @property
    def before(self) -> str:
        """The name of the same number from before the first exposure."""
        return f"{self.name}_before"


class Metric(Part):
    """A mean per user, or a ratio of two."""

    name: Name
    numerator: Column
    denominator: Column | None = Field(default=None, description="Empty: the mean per user")
    direction: Literal["increase", "decrease"] = Field(default="increase", description="What is good")
    cuped: bool = Field(default=True, description="Reduce the variance by the same metric from before the experiment")
    cap_quantile: Annotated[float, Field(ge=0.5, lt=1)] | None = Field(
        default=None,
        description="Count at most this quantile of users' numbers in the time before, of windows as long as "
        "attributionWindow; the covariate of CUPED likewise. It holds for every metric of the same column",
    )
    cap_lower_quantile: Annotated[float, Field(gt=0, le=0.5)] | None = Field(
        default=None, description="Count at least this quantile: for numbers that may be below 0, refunds for instance"
    )
    cap_nonzero: bool = Field(
        default=False, description="Take these quantiles of the numbers that are not 0, where most users have none"
    )

    @property
    def capped(self) -> bool:
        """Whether numbers have a cap."""
        return self.cap_quantile is not None or self.cap_lower_quantile is not None


class Margin(Part):
    """A metric that must not get worse by more than a margin."""

    metric: Metric
    margin: Probability = Field(description="Largest relative loss that is accepted: 0.02 is 2 %")
    alpha: Probability = Field(default=0.05, description="Chance of a false alarm, over all looks")


class OperationalKind(StrEnum):
    """What Prometheus is asked about."""

    FAILURES = "failures"
    P99_SECONDS = "p99Seconds"
    DEGRADED = "degraded"
    QUERY = "query"


class Operational(Part):
    """A limit on what Prometheus says of the candidate, watched all the time."""

    name: Name
    kind: OperationalKind = Field(description="failures and degraded are shares of rankings; query is PromQL of yours")
    limit: Annotated[float, Field(ge=0)] = Field(
        description="Largest value that is accepted for the candidate: it ends the experiment when it is surely passed"
    )
    relative: bool = Field(default=False, description="The limit is candidate over stable")
    window: Duration = Field(
        default="5m",
        description="Time that is looked back on; with few rankings 12 and 144 times as much, up to a day",
    )
    minimum_requests: int = Field(
        default=100,
        ge=1,
        description="Rankings of an arm below which there is no reading, and the stage waits (not for query)",
    )
    query: Query | None = Field(
        default=None, description="PromQL giving one number; $arm, $model, $experiment, $window are filled in"
    )


class Method(StrEnum):
    """How the verdict is reached."""

    ALWAYS_VALID = "always-valid"
    GROUP_SEQUENTIAL = "group-sequential"
    FIXED = "fixed"


class Analysis(Part):
    """When there is a verdict."""

    method: Method = Field(
        default=Method.ALWAYS_VALID, description="always-valid may stop at any look; the others are planned"
    )
    alpha: Probability = Field(default=0.05, description="Chance to call a difference where there is none")
    planned_users: int = Field(ge=100, description="Users of both arms expected at the end (sightline experiment plan)")
    looks: int = Field(default=5, ge=1, le=50, description="Planned looks at equal steps of users (group-sequential)")
    spending: Literal["obrien-fleming", "pocock"] = "obrien-fleming"
    minimum_users: int = Field(
        default=1000, ge=2, description="Users per arm before the first look: intervals are asymptotic"
    )
    minimum_time: Duration = Field(default="7d", description="No win before: every day of the week counts once")
    maximum_time: Duration = Field(default="28d", description="Inconclusive after that")
    attribution_window: Duration = Field(
        default="1d", description="Outcomes count so long after a user's first exposure"
    )
    before: Duration = Field(default="14d", description="Time before the first exposure that CUPED looks at")
    look_interval: Duration = Field(default="1h", description="Time between two looks at the metrics")
    ratio_alpha: Probability = Field(
        default=0.001, description="Chance to call the arms' sizes wrong where they are right"
    )
    unusual_senders: Literal["hold", "report"] = Field(
        default="hold",
        description="A sender whose outcomes are unlike all others', by ratioAlpha, is named. hold: no stage and no "
        "win come while a metric speaks for the candidate only with them. report: they do",
    )
    guardrail_alpha: Probability = Field(
        default=0.01,
        description="Chance that guardrails end an experiment whose candidate is within every limit, over maximumTime",
    )
    no_data_limit: Duration = Field(
        default="30m",
        description="Guardrails or metrics may be out of reach, or the candidate not ready, so long; then users go "
        "back. Too little traffic is no such thing: it holds the stage",
    )


class SqlEvidence(Part):
    """Evidence by SQL, of DuckDB; see serving/rollout/evidence/README.md."""

    kind: Literal["sums", "users"] = Field(
        default="sums", description="sums: `query` gives sufficient statistics. users: `exposures` and `outcomes` do"
    )
    database: LongText = Field(default="", description="DuckDB file; empty: everything is in files")
    query: Query | None = Field(default=None, min_length=1, description="SELECT with a row of sums per arm and day")
    exposures: Text | None = Field(
        default=None, min_length=1, description="Files (/folder/*.jsonl, .parquet or .csv), a table's name or a SELECT"
    )
    outcomes: Text | None = Field(default=None, min_length=1, description="The same of outcomes")


class EvidenceSource(Part):
    """Where outcomes come from."""

    collector: LongText | None = Field(default=None, description="Base URL of the collector")
    sql: SqlEvidence | None = None
    prometheus: LongText | None = Field(default=None, description="Base URL of the Prometheus that guardrails ask")


class Promotion(StrEnum):
    """What happens after a win."""

    REPORT = "report"
    MANUAL = "manual"
    AUTOMATIC = "automatic"


class Notification(Part):
    """Who hears of decisions."""

    url_secret: ObjectName = Field(description="Secret whose key `url` is a webhook's address")
    format: Literal["json", "slack"] = "json"


class ExperimentSpec(Part):
    """A canary rollout that ends in an online metric test."""

    hypothesis: str = Field(
        default="", max_length=1000, description="What the candidate should change and why, for the report"
    )
    owner: str = Field(default="", max_length=200, description="Who answers for the experiment: a team, a person")
    target: Target
    candidate: Candidate
    schedule: Schedule = Schedule()
    primary_metric: Metric
    secondary_metrics: tuple[Metric, ...] = Field(
        default=(), max_length=20, description="Shown, with Bonferroni's intervals; never decide"
    )
    guardrails: tuple[Operational, ...] = Field(default=(), max_length=20)
    metric_guardrails: tuple[Margin, ...] = Field(default=(), max_length=20)
    analysis: Analysis
    evidence: EvidenceSource
    promotion: Promotion = Field(
        default=Promotion.REPORT,
        description="report says what to change; manual waits for spec.approved; automatic promotes",
    )
    approved: bool = Field(default=False, description="Promote now that the candidate has won (promotion: manual)")
    paused: bool = Field(default=False, description="Keep shares and candidate as they are; guardrails go on")
    aborted: bool = Field(default=False, description="Give all users stable, remove the candidate, end")
    notifications: tuple[Notification, ...] = Field(default=(), max_length=5)

    def metrics(self) -> tuple[Metric, ...]:
        """All metrics: primary, secondary, those of guardrails."""
        return (self.primary_metric, *self.secondary_metrics, *(each.metric for each in self.metric_guardrails))

    def columns(self) -> tuple[Column, ...]:
        """Every column that the metrics need, once."""
        return _columns(self.metrics())

    def deciding_columns(self) -> tuple[Column, ...]:
        """Those of the metrics that a win needs: the primary one, and those of guardrails."""
        return _columns((self.primary_metric, *(each.metric for each in self.metric_guardrails)))

    @property
    def window(self) -> timedelta:
        """The attribution window."""
        return length(self.analysis.attribution_window)


def _columns(metrics: Iterable[Metric]) -> tuple[Column, ...]:
    needed = [part for metric in metrics for part in (metric.numerator, metric.denominator) if part is not None]
    return tuple(dict.fromkeys(needed))
