"""An experiment's verdict in one of four words, for tools that ask whether to go on."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from serving.rollout.experiment.state import Phase
from serving.rollout.report.document import End
from serving.rollout.report.resource import Resource
from serving.rollout.report.sentence import deciding, verdict


class Word(StrEnum):
    """What is answered. Only a win is a reason to go on."""

    WIN = "win"
    HARM = "harm"
    """Worse by the metric, or a guardrail was passed."""
    INCONCLUSIVE = "inconclusive"
    """It ended and nothing was shown: time over, no data, arms' sizes wrong, aborted, rejected."""
    PENDING = "pending"


_WORDS = {End.WIN: Word.WIN, End.HARM: Word.HARM, End.GUARDRAIL: Word.HARM, End.WAITING: Word.PENDING}


class Answer(BaseModel):
    """What is known. `value` is the lift, a fraction of stable, null before the first look.

    `low` and `high` are null where stable's value is not told from 0; the difference has ends there, too.
    """

    model_config = ConfigDict(frozen=True, alias_generator=to_camel, populate_by_name=True)

    experiment: str
    namespace: str
    verdict: Word
    value: float | None
    low: float | None
    high: float | None
    absolute: float | None = Field(description="candidate minus stable: what the sign is judged by")
    absolute_low: float | None
    absolute_high: float | None
    end: End = Field(description="why, more exactly")
    phase: Phase
    headline: str
    bundle: str
    looked_at: datetime | None


def answer(found: Resource) -> Answer:
    """The verdict as it stands."""
    state = found.state
    spec = state.started if state is not None and state.started is not None else found.spec
    said = verdict(spec, state, found.given_reason)
    look = deciding(state) if state is not None else None
    return Answer(
        experiment=found.name,
        namespace=found.namespace,
        verdict=_WORDS.get(said.end, Word.INCONCLUSIVE),
        value=look.primary.relative if look else None,
        low=look.primary.low if look else None,
        high=look.primary.high if look else None,
        absolute=look.primary.absolute if look else None,
        absolute_low=look.primary.absolute_low if look else None,
        absolute_high=look.primary.absolute_high if look else None,
        end=said.end,
        phase=said.phase,
        headline=said.headline,
        bundle=spec.candidate.bundle,
        looked_at=look.at if look else None,
    )
