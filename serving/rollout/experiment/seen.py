"""What a step has seen of the world: all that `decide` goes by."""

from __future__ import annotations

from dataclasses import dataclass

from models.experiments.assignment import Assignment
from serving.rollout.experiment.evidence import Reading
from serving.rollout.experiment.ports import CandidateState, Readiness, VerifiedBundle
from serving.rollout.experiment.state import Look
from serving.rollout.statistics.winsor import Caps

_ABSENT = CandidateState(Readiness.ABSENT)


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """One observation. What was not asked for, as the phase does not need it, has its default."""

    candidate: CandidateState = _ABSENT
    published: Assignment | None = None
    """The assignment as transformers see it."""
    stable: str | None = None
    """What stable is to serve; None where it cannot be told."""
    rival: str | None = None
    """Another experiment that has the model."""
    bundle: VerifiedBundle | None = None
    """The candidate's bundle, when it was verified in this step."""
    caps: Caps | None = None
    """Caps of the metrics' columns, when they were read in this step."""
    warmed: bool = False
    """The candidate was warmed in this step."""
    refusal: str = ""
    """What will not get better by waiting: a bundle that cannot be used, a target that is not there."""
    unanswered: str = ""
    """While preparing: who did not answer, and why."""
    readings: tuple[Reading, ...] = ()
    """Of the operational guardrails, in order."""
    look: Look | None = None
    """Of the metrics, when one was due."""
    blind: str = ""
    """Why guardrails or metrics could not be read; empty when all that was asked for was answered."""
    replaced: int | None = None
    """Objects of the target that serve the candidate's bundle, while stable is being replaced."""
    hint: str = ""
    """What a person would change to promote, as a command; when there is a win."""
