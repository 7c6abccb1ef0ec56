"""Operational guardrails, read from Prometheus: what goes wrong in the candidate's arm, at once.

Counters of requests say nothing about users, so nothing here is part of the verdict. No data is never a pass: whatever
keeps a number from being had makes the reading's value None, and the reading says why. A limit is breached by a bound
on counts that holds over all readings of the experiment (`experiment.limits`), never by a point estimate.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

import httpx

from serving.rollout.evidence.arm_counts import Arms
from serving.rollout.evidence.prometheus_api import NoData, NoPrometheus, PrometheusApi
from serving.rollout.evidence.promql import PromqlError
from serving.rollout.experiment.durations import length
from serving.rollout.experiment.evidence import Reading
from serving.rollout.experiment.limits import judged, reading_alpha, spans
from serving.rollout.experiment.spec import ExperimentSpec, Operational, OperationalKind

TIMEOUT_SECONDS = 5.0


class PrometheusGuardrails:
    """The port `Guardrails`. Safe to share between threads."""

    def __init__(
        self,
        *,
        refusal: Callable[[ExperimentSpec], str] = lambda spec: "",
        timeout: float = TIMEOUT_SECONDS,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        """`refusal` says why a spec's address is not asked; empty: it is."""
        self._timeout, self._refusal = timeout, refusal
        self._client = httpx.Client(timeout=timeout, trust_env=False, transport=transport)

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def read(
        self, spec: ExperimentSpec, experiment: str, now: datetime, since: datetime | None = None
    ) -> Sequence[Reading]:
        """A reading per operational guardrail, in order; one that cannot be had has value None, and says why.

        `since` is when users first met the candidate: rankings before belong to an earlier experiment of the name.
        """
        api = PrometheusApi(self._client, spec.evidence.prometheus or "", now, self._timeout)
        alpha, lived = reading_alpha(spec), None if since is None else now - since
        readings, away = [], self._refusal(spec)
        for each in spec.guardrails:
            try:
                if away:  # asked no further: a Prometheus that hangs would hold the controller for minutes
                    raise NoData(away)
                reading = _reading(api, each, spec.target.model, experiment, lived, alpha)
            except NoData as reason:
                reading = Reading(each.name, None, each.limit, str(reason), counted=_counted(each))
                away = str(reason) if isinstance(reason, NoPrometheus) else away
            readings.append(reading)
        return tuple(readings)


def _reading(
    api: PrometheusApi, each: Operational, model: str, experiment: str, lived: timedelta | None, alpha: float
) -> Reading:
    """Raises NoData."""
    if not _counted(each):
        value, detail = _query(api, each, Arms.of(api, each, model, experiment, length(each.window)))
        return Reading(each.name, value, each.limit, detail, counted=False)
    samples = [Arms.of(api, each, model, experiment, span).sample() for span in _within(spans(each), lived)]
    return judged(each, samples, alpha)


def _counted(each: Operational) -> bool:
    return each.kind is not OperationalKind.QUERY


def _within(wanted: Sequence[timedelta], lived: timedelta | None) -> Sequence[timedelta]:
    """The first span whole, longer ones as far as users have met the candidate."""
    found = [wanted[0]]
    for span in wanted[1:]:
        cut = span if lived is None else min(span, lived)
        if cut > found[-1]:
            found.append(cut)
    return found


def _query(api: PrometheusApi, each: Operational, arms: Arms) -> tuple[float, str]:
    query = each.query or ""
    try:
        asked, base_asked = arms.candidate.fill(query), arms.stable.fill(query)
    except PromqlError as cause:
        raise NoData(str(cause)) from cause
    value = api.number(asked)
    if not each.relative:
        return value, ""
    base = api.number(base_asked)
    if base <= 0:
        raise NoData(f"stable gives {base:g}; expected more than 0 to divide by")
    return value / base, f"{value:.4g}; stable {base:.4g}"
