"""The six stories: what is planted, and how each must end."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from serving.rollout.experiment.state import Phase

Model = Literal["captions", "ids"]
"""The demo's two rankers: with captions, and without."""


class Fault(StrEnum):
    """What goes wrong, from `Story.fault_day` on."""

    NONE = "none"
    SLOW = "slow"
    """The candidate's Triton answers late, within its time."""
    DEAD = "dead"
    """The candidate's Triton is killed."""
    DEAF_LOGGER = "deaf logger"
    """The exposures of some users of the candidate never arrive."""


@dataclass(frozen=True, slots=True)
class Story:
    """One experiment. `ends` is the phase that it must end in, `reasons` what the controller may give for it."""

    name: str
    title: str
    stable: Model
    candidate: Model
    truth: str
    ends: Phase
    reasons: tuple[str, ...]
    fault: Fault = Fault.NONE
    fault_day: float = 0.0


STORIES = (
    Story(
        name="a-a",
        title="A/A: the same ranker twice",
        stable="captions",
        candidate="captions",
        truth="no difference",
        ends=Phase.INCONCLUSIVE,
        reasons=("NoVerdict",),
    ),
    Story(
        name="win",
        title="A true win: captions for items that no ranker has seen",
        stable="ids",
        candidate="captions",
        truth="the candidate is better",
        ends=Phase.PROMOTED,
        reasons=("Promoted",),
    ),
    Story(
        name="harm",
        title="A true harm: the captions are taken away",
        stable="captions",
        candidate="ids",
        truth="it is worse",
        ends=Phase.ROLLED_BACK,
        reasons=("Harm",),
    ),
    Story(
        name="guardrail",
        title="A better ranker that becomes too slow",
        stable="ids",
        candidate="captions",
        truth="better, and late",
        ends=Phase.ROLLED_BACK,
        reasons=("GuardrailBreached",),
        fault=Fault.SLOW,
        fault_day=2.5,
    ),
    Story(
        name="broken",
        title="A candidate whose Triton dies",
        stable="ids",
        candidate="captions",
        truth="better, until it is gone",
        ends=Phase.ROLLED_BACK,
        reasons=("GuardrailBreached", "CandidateLost"),
        fault=Fault.DEAD,
        fault_day=2.5,
    ),
    Story(
        name="faulty-logger",
        title="A logger that loses exposures of one arm",
        stable="ids",
        candidate="captions",
        truth="better, and not measurable",
        ends=Phase.ROLLED_BACK,
        reasons=("SampleRatioMismatch",),
        fault=Fault.DEAF_LOGGER,
    ),
)


def story(name: str) -> Story:
    """The story of that name. Raises ValueError."""
    for each in STORIES:
        if each.name == name:
            return each
    raise ValueError(f"there is no story {name!r}; expected one of {', '.join(each.name for each in STORIES)}")
