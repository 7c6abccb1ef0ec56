"""What the controller needs of the world. `reconcile` knows these and nothing of Kubernetes, Prometheus or HTTP."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Protocol

from models.experiments.assignment import Assignment
from serving.rollout.experiment.evidence import Evidence, EvidenceQuery, Reading
from serving.rollout.experiment.spec import Column, ExperimentSpec
from serving.rollout.statistics.winsor import CapRule, Caps


class RetryError(Exception):
    """The world did not answer; nothing is known. The same step is done again later."""


class RefusedError(Exception):
    """It will not get better by waiting; the message says what to change."""


class Clock(Protocol):
    """Time."""

    def now(self) -> datetime:
        """The time now, UTC."""
        ...


@dataclass(frozen=True, slots=True)
class VerifiedBundle:
    """A bundle of which every byte was read and checked."""

    bundle_id: str
    contract_digest: str


class Bundles(Protocol):
    """The model store."""

    def verify(self, uri: str) -> VerifiedBundle:
        """Read all of it. Raises RefusedError for a bundle that cannot be used, RetryError for a store that is away."""
        ...


class Readiness(StrEnum):
    """Of the candidate's pods."""

    ABSENT = "absent"
    STARTING = "starting"
    READY = "ready"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class CandidateState:
    """What runs of the candidate. `predictor_host` is where transformers reach it, host:port over gRPC."""

    readiness: Readiness
    predictor_host: str = ""
    message: str = ""


class Cluster(Protocol):
    """The objects of the target: every method is idempotent, and raises RetryError or RefusedError."""

    def candidate(self) -> CandidateState:
        """What runs of the candidate now; ABSENT once nothing is left of it beside stable."""
        ...

    def deploy(self, bundle: VerifiedBundle) -> None:
        """Make the candidate's objects what they should be; they belong to the experiment."""
        ...

    def warm(self) -> None:
        """Send the candidate inferences of its contract's shape, and see that scores come back."""
        ...

    def remove(self) -> None:
        """Remove the candidate's objects; those that are not there, or that became stable's, are no error."""
        ...

    def promote(self) -> bool:
        """Do the next step of replacing stable by the candidate; True when nothing is left to do."""
        ...

    def replaced(self) -> int:
        """How many objects of the target serve the candidate's bundle; fewer than before: somebody put one back."""
        ...

    def stable(self) -> str | None:
        """What stable is to serve, as a text that differs between two bundles; None where it cannot be told."""
        ...

    def rival(self) -> str | None:
        """Another experiment on the same model that began before this one and has not ended."""
        ...

    def promotion_hint(self) -> str:
        """What a person would change, as a command."""
        ...


class Assignments(Protocol):
    """The document that transformers watch."""

    def published(self, uid: str) -> Assignment | None:
        """The experiment's assignment as it is published. Raises RetryError."""
        ...

    def publish(self, assignment: Assignment) -> None:
        """Publish. Raises RefusedError when another experiment has the model, RetryError."""
        ...

    def withdraw(self, uid: str) -> None:
        """Take the experiment's assignment away; one that is not there is no error. Raises RetryError."""
        ...


class MetricSource(Protocol):
    """Exposures and outcomes, joined."""

    def evidence(self, query: EvidenceQuery) -> Evidence:
        """Raises EvidenceError."""
        ...

    def quantiles(
        self, rules: Mapping[Column, CapRule], span: tuple[datetime, datetime], window: timedelta | None = None
    ) -> Caps:
        """Caps of columns by quantiles over users in a time before, by column name. Raises EvidenceError.

        A user's number is that of one window, from the first event on; windows close within the span. Without a window
        it is that of the whole span. Without users there are no caps, and a note that says so.
        """
        ...


class Guardrails(Protocol):
    """Prometheus."""

    def read(
        self, spec: ExperimentSpec, experiment: str, now: datetime, since: datetime | None = None
    ) -> Sequence[Reading]:
        """A reading per operational guardrail, in order; one that cannot be had has value None, and says why.

        `since` is when users first met the candidate: rankings before belong to an earlier experiment of the name.
        """
        ...


class Notices(Protocol):
    """Who hears of decisions. Never raises: a notice that cannot be given is counted and logged."""

    def tell(self, experiment: str, reason: str, message: str, *, warning: bool) -> None:
        """A decision."""
        ...
