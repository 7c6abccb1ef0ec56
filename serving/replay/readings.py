"""Guardrails of a replay, read off the rankings themselves: the candidate's share of failures and its p99."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import numpy as np

from serving.replay.population import Floats
from serving.replay.served import CANDIDATE, Served
from serving.replay.terms import START
from serving.rollout.experiment.durations import length
from serving.rollout.experiment.evidence import Reading
from serving.rollout.experiment.spec import ExperimentSpec, Operational, OperationalKind

LEAST_RANKINGS = 10
"""Fewer say nothing."""


class ServedReadings:
    """The `Guardrails` port over what the candidate's users got."""

    def __init__(self) -> None:
        self._times, self._failed, self._seconds = (np.zeros(0) for _ in range(3))

    def add(self, times: Floats, served: Served) -> None:
        """Rankings that were given out at `times`, float64 [n], in seconds since START and in order."""
        of_candidate = served.arm == CANDIDATE
        if of_candidate.any():
            self._times = np.concatenate([self._times, times[of_candidate]])
            self._failed = np.concatenate([self._failed, served.failed[of_candidate].astype(np.float64)])
            self._seconds = np.concatenate([self._seconds, served.seconds[of_candidate]])

    def read(self, spec: ExperimentSpec, experiment: str, now: datetime) -> Sequence[Reading]:
        """A reading per guardrail of the specification."""
        return [self._reading(each, (now - START).total_seconds()) for each in spec.guardrails]

    def _reading(self, guardrail: Operational, now: float) -> Reading:
        since = int(np.searchsorted(self._times, now - length(guardrail.window).total_seconds()))
        if (count := len(self._times) - since) < LEAST_RANKINGS:
            return Reading(guardrail.name, None, guardrail.limit, f"{count} rankings, {LEAST_RANKINGS} are needed")
        if guardrail.kind is OperationalKind.FAILURES:
            return Reading(guardrail.name, float(self._failed[since:].mean()), guardrail.limit)
        if guardrail.kind is OperationalKind.P99_SECONDS:
            return Reading(guardrail.name, float(np.quantile(self._seconds[since:], 0.99)), guardrail.limit)
        return Reading(guardrail.name, None, guardrail.limit, f"{guardrail.kind} is not read in a replay")
