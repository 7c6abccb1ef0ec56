"""What the metrics say at a moment. Pure: evidence in, a look out."""

from __future__ import annotations

from datetime import datetime

from serving.rollout.experiment.evidence import Evidence
from serving.rollout.experiment.spec import ExperimentSpec
from serving.rollout.experiment.state import Look, State


def analyse(spec: ExperimentSpec, evidence: Evidence, state: State, now: datetime) -> Look:
    """A look at the evidence. What cannot be computed is pending and says why; it is never a pass."""
    raise NotImplementedError
