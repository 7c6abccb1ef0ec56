"""Guardrails of a replay, read off the rankings themselves: the candidate's share of failures and its p99."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

import numpy as np

from serving.replay.population import Floats
from serving.replay.served import CANDIDATE, Served
from serving.replay.terms import START
from serving.rollout.experiment.evidence import Reading
from serving.rollout.experiment.limits import Sample, judged, reading_alpha, spans
from serving.rollout.experiment.sentences import span as told_span
from serving.rollout.experiment.spec import ExperimentSpec, Operational, OperationalKind
from serving.rollout.statistics.limits import share_chance

P99 = 0.99


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

    def read(
        self, spec: ExperimentSpec, experiment: str, now: datetime, since: datetime | None = None
    ) -> Sequence[Reading]:
        """A reading per guardrail of the specification."""
        alpha, passed = reading_alpha(spec), (now - START).total_seconds()
        return [
            judged(each, [self._sample(each, span, passed) for span in spans(each)], alpha) for each in spec.guardrails
        ]

    def _sample(self, guardrail: Operational, span: timedelta, now: float) -> Sample:
        since = int(np.searchsorted(self._times, now - span.total_seconds()))
        told, count = told_span(span.total_seconds()), len(self._times) - since
        if guardrail.kind is OperationalKind.FAILURES:
            beyond, most, value = self._failed[since:] > 0, guardrail.limit, float(self._failed[since:].sum())
            value = value / count if count else 0.0
        elif guardrail.kind is OperationalKind.P99_SECONDS:
            beyond, most = self._seconds[since:] > guardrail.limit, 1 - P99
            value = float(np.quantile(self._seconds[since:], P99)) if count else 0.0
        else:
            raise ValueError(
                f"guardrail {guardrail.name} is a {guardrail.kind}; a replay reads failures and p99Seconds"
            )
        chance = share_chance((float(beyond.sum()), count), most)
        return Sample(value if count else None, count, chance, f"{beyond.sum():,} of {count:,} rankings", told)
