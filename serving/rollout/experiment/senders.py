"""Whether a result rests on one sender of outcomes whose users' arms are none that chance or an effect would give.

A real effect moves what every sender sends, in proportion; who sends false outcomes moves its own alone. Where one
sender's differ from all others' so that chance cannot be why (`statistics/portions.py`), it is named; where a metric
looks good with its outcomes and not without them, the sample is in doubt.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from models.experiments.assignment import STABLE
from serving.rollout.experiment.desired import CANDIDATE
from serving.rollout.experiment.evidence import OTHERS, OWN, BySender, Evidence, sent_columns
from serving.rollout.experiment.spec import Column, ExperimentSpec
from serving.rollout.experiment.state import Sender
from serving.rollout.statistics.moments import Moments
from serving.rollout.statistics.portions import portion
from serving.rollout.statistics.sequence import tuning
from serving.rollout.statistics.several import average

UNNAMED = "(unnamed, stored before senders were)"


@dataclass(frozen=True, slots=True)
class Suspect:
    """A sender whose outcomes are unlike all others', what they were, and the sums as if it had sent nothing."""

    name: str
    says: str
    without: Mapping[str, Moments]


def senders(spec: ExperimentSpec, evidence: Evidence) -> tuple[Sender, ...]:
    """Each sender's outcomes by arm, and how unlike the others' they are: p-values that may be looked at any time.

    Only the metrics that decide are compared. p is 1 until there are users enough for a look.
    """
    columns = sent_columns(spec.deciding_columns())
    return tuple(_sender(spec, each, columns, len(evidence.senders)) for each in evidence.senders)


def suspects(spec: ExperimentSpec, evidence: Evidence, found: tuple[Sender, ...]) -> tuple[Suspect, ...]:
    """Those beyond ratioAlpha, the most unlike ones first. Of two senders each is as unlike the other."""
    both = sorted(zip(found, evidence.senders, strict=True), key=lambda pair: pair[0].p)
    columns = sent_columns(spec.deciding_columns())
    return tuple(
        Suspect(told.name, _says(told, each, columns), each.without)
        for told, each in both
        if told.p <= spec.analysis.ratio_alpha
    )


def _sender(spec: ExperimentSpec, each: BySender, columns: tuple[Column, ...], senders: int) -> Sender:
    stable, candidate = (each.parts[arm] for arm in (STABLE, CANDIDATE))
    counts = {column.event: _count(each, OWN, column) for column in columns if column.aggregate == "count"}
    p = 1.0
    if columns and min(stable.count, candidate.count) >= spec.analysis.minimum_users:
        rho = tuning(spec.analysis.planned_users, spec.analysis.ratio_alpha)
        pairs = {column.name: (OWN + column.name, OTHERS + column.name) for column in columns}
        values = {name: portion(stable.only(pair), candidate.only(pair)) for name, pair in pairs.items()}
        # A mean of e-values is one, whatever their dependence; of several senders each has its part of the error.
        evidence = average({name: value.evidence(rho) for name, value in values.items()})
        p = min(1.0, senders / evidence)
    return Sender(name=each.name or UNNAMED, outcomes=counts, p=p)


def _says(told: Sender, each: BySender, columns: tuple[Column, ...]) -> str:
    events = [column for column in columns if column.aggregate == "count"]
    parts = [
        f"{own[0]:,} `{column.event}` in stable and {own[1]:,} in the candidate, all others {others[0]:,} and "
        f"{others[1]:,}"
        for column in events
        if any(own := _count(each, OWN, column)) and (others := _count(each, OTHERS, column)) is not None
    ]
    return f"the outcomes of sender `{told.name}` are unlike all others' ({'; '.join(parts)}; p {told.p:.2g})"


def _count(each: BySender, whose: str, column: Column) -> tuple[int, int]:
    left, right = (int(each.parts[arm].only([whose + column.name]).totals()[0]) for arm in (STABLE, CANDIDATE))
    return left, right
