"""After users: the assignment is gone, transformers take notice, the candidate is removed."""

from __future__ import annotations

from datetime import timedelta

from serving.rollout.experiment.lapses import credit, lasting, over
from serving.rollout.experiment.ports import Readiness
from serving.rollout.experiment.state import Phase
from serving.rollout.experiment.turn import Turn

DRAIN = timedelta(seconds=15)
"""Time between the end of the assignment and that of the candidate's pods: transformers read it every few seconds."""


def stopping(turn: Turn) -> Turn:
    """Towards the end that was decided; nothing turns it back."""
    state, seen = turn.state, turn.seen
    if seen.published is not None:
        return turn.put(draining=None)
    lapse = lasting(state.draining, turn.now, credit(turn.spec, turn.before, turn.now))
    absent = seen.candidate.readiness is Readiness.ABSENT
    drained = state.drained or (absent and state.bundle_id is None) or over(lapse, DRAIN)
    turn = turn.put(draining=lapse, drained=drained)
    if not (drained and absent):
        return turn
    end = state.end or Phase.ABORTED
    return turn.put(phase=end, since=turn.now, draining=None).close()
