"""Over which times an operational guardrail is read, and how sure a reading must be to end the experiment."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from models.experiments.assignment import STABLE
from serving.rollout.experiment.desired import CANDIDATE
from serving.rollout.experiment.durations import length
from serving.rollout.experiment.evidence import Reading
from serving.rollout.experiment.lapses import pace
from serving.rollout.experiment.spec import ExperimentSpec, Operational, OperationalKind
from serving.rollout.experiment.state import Phase

SURELY_SOME = 20
"""Lanes are equally wide: where one arm had so many, none in the other are no chance (one in a million)."""
_LONGER = 12
_LONGEST = timedelta(days=1)


def spans(each: Operational) -> tuple[timedelta, ...]:
    """The guardrail's window, and times twelve times as long each, up to a day: 5 min, 1 h, 12 h.

    The window finds at once what is gross; the longer ones what is small, or what few rankings tell slowly.
    """
    found = [length(each.window)]
    while each.kind is not OperationalKind.QUERY and found[-1] * _LONGER <= _LONGEST:
        found.append(found[-1] * _LONGER)
    return tuple(found)


def reading_alpha(spec: ExperimentSpec) -> float:
    """The chance that one reading over one span may have, so that all of `maximumTime` together have guardrailAlpha."""
    looks = length(spec.analysis.maximum_time) / pace(spec, Phase.RUNNING)
    counted = [each for each in spec.guardrails if each.kind is not OperationalKind.QUERY]
    return spec.analysis.guardrail_alpha / max(1.0, looks * sum(len(spans(each)) for each in counted))


@dataclass(frozen=True, slots=True)
class Sample:
    """What one span tells of a guardrail.

    Attributes:
        value: what is compared with the limit; None where nobody came.
        rankings: of the candidate; `base` those of stable, where the limit is relative.
        chance: of counts like these in a candidate within the limit; see `statistics.limits`.
        counts, span: as people read them: `3 of 240 rankings`, `5 min`.
    """

    value: float | None
    rankings: float
    chance: float
    counts: str
    span: str
    base: float | None = None


def judged(each: Operational, samples: Sequence[Sample], alpha: float) -> Reading:
    """The reading of a guardrail from its spans, the shortest first: the first of them that has enough rankings.

    A limit that any of them passes surely, with a chance of at most `alpha`, is breached, however few the rankings.
    """
    surest = min(samples, key=lambda sample: sample.chance)
    if surest.chance <= alpha:
        told = f"{surest.counts} in {surest.span}; within the limit that has a chance of {surest.chance:.1g}"
        return Reading(each.name, surest.value, each.limit, told, breached=True, rankings=surest.rankings)
    for sample in samples:
        if sample.value is not None and _least(sample) >= each.minimum_requests:
            told = f"{sample.counts} in {sample.span}"
            return Reading(each.name, sample.value, each.limit, told, rankings=sample.rankings)
    longest = samples[-1]
    arm = CANDIDATE if longest.base is None or longest.rankings <= longest.base else STABLE
    told = (
        f"{arm} had {_least(longest):,.0f} rankings in {longest.span}; at least {each.minimum_requests} are needed "
        "(minimumRequests)"
    )
    return Reading(each.name, None, each.limit, told, few=True, rankings=longest.rankings)


def _least(sample: Sample) -> float:
    return sample.rankings if sample.base is None else min(sample.rankings, sample.base)
