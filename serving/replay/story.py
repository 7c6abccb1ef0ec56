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
    """One experiment. `ends` are the phases that it may end in, `reason` what the controller says then."""

    name: str
    title: str
    stable: Model
    candidate: Model
    ends: Phase
    fault: Fault = Fault.NONE
    fault_day: float = 0.0
    truth: str = ""


STORIES = (
    Story("a-a", "A/A: the same ranker twice", "captions", "captions", Phase.INCONCLUSIVE, truth="no difference"),
    Story(
        "win",
        "A true win: captions for items that no ranker has seen",
        "ids",
        "captions",
        Phase.PROMOTED,
        truth="the candidate is better",
    ),
    Story(
        "harm", "A true harm: the captions are taken away", "captions", "ids", Phase.ROLLED_BACK, truth="it is worse"
    ),
    Story(
        "guardrail",
        "A better ranker that becomes too slow",
        "ids",
        "captions",
        Phase.ROLLED_BACK,
        Fault.SLOW,
        2.5,
        "better, and late",
    ),
    Story(
        "broken",
        "A candidate whose Triton dies",
        "ids",
        "captions",
        Phase.ROLLED_BACK,
        Fault.DEAD,
        2.5,
        "better, until it is gone",
    ),
    Story(
        "faulty-logger",
        "A logger that loses exposures of one arm",
        "ids",
        "captions",
        Phase.ROLLED_BACK,
        Fault.DEAF_LOGGER,
        0.0,
        "better, and not measurable",
    ),
)


def story(name: str) -> Story:
    """The story of that name. Raises ValueError."""
    for each in STORIES:
        if each.name == name:
            return each
    raise ValueError(f"there is no story {name!r}; expected one of {', '.join(each.name for each in STORIES)}")
