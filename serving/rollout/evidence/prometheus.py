"""Operational guardrails, read from Prometheus: what goes wrong in the candidate's arm, at once.

Counters of requests say nothing about users, so nothing here is part of the verdict. No data is never a pass: whatever
keeps a number from being had makes the reading's value None, and the reading says why.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import httpx

from models.experiments.assignment import STABLE
from serving.rollout.evidence.prometheus_api import NoData, NoPrometheus, PrometheusApi
from serving.rollout.evidence.promql import PromqlError, Subject
from serving.rollout.experiment.desired import CANDIDATE
from serving.rollout.experiment.evidence import Reading
from serving.rollout.experiment.spec import ExperimentSpec, Operational, OperationalKind

TIMEOUT_SECONDS = 5.0
_P99 = 0.99


@dataclass(frozen=True, slots=True)
class Part:
    """So many of so many rankings."""

    count: float
    of: float

    def __str__(self) -> str:
        return f"{self.count:,.0f} of {self.of:,.0f} rankings"


class PrometheusGuardrails:
    """The port `Guardrails`. Safe to share between threads."""

    def __init__(self, *, timeout: float = TIMEOUT_SECONDS, transport: httpx.BaseTransport | None = None) -> None:
        self._timeout = timeout
        self._client = httpx.Client(timeout=timeout, trust_env=False, transport=transport)

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def read(self, spec: ExperimentSpec, experiment: str, now: datetime) -> Sequence[Reading]:
        """A reading per operational guardrail, in order; one that cannot be had has value None, and says why."""
        api = PrometheusApi(self._client, spec.evidence.prometheus or "", now, self._timeout)
        readings, away = [], ""
        for each in spec.guardrails:
            try:
                if away:  # asked no further: a Prometheus that hangs would hold the controller for minutes
                    raise NoData(away)
                value, detail = _measured(api, each, spec.target.model, experiment)
            except NoData as reason:
                value, detail = None, str(reason)
                away = str(reason) if isinstance(reason, NoPrometheus) else away
            readings.append(Reading(each.name, value, each.limit, detail))
        return tuple(readings)


def _measured(api: PrometheusApi, each: Operational, model: str, experiment: str) -> tuple[float, str]:
    """Value and detail. Raises NoData."""
    candidate, stable = (Subject(model, experiment, arm, each.window) for arm in (CANDIDATE, STABLE))
    match each.kind:
        case OperationalKind.FAILURES | OperationalKind.DEGRADED:
            return _shares(api, each, candidate, stable)
        case OperationalKind.P99_SECONDS:
            return _seconds(api, each, candidate, stable)
        case OperationalKind.QUERY:
            return _query(api, each, candidate, stable)


def _shares(api: PrometheusApi, each: Operational, candidate: Subject, stable: Subject) -> tuple[float, str]:
    """A share of the rankings; relative: candidate's over stable's, of which 0 is taken as one ranking."""
    found = _part(api, each.kind, candidate)
    if not each.relative:
        return _enough(found, each)
    base = _part(api, each.kind, stable)
    for arm, part in ((CANDIDATE, found), (STABLE, base)):
        _need(part.of, each, arm)
    ratio = (found.count / found.of) / (max(base.count, 1.0) / base.of)
    return ratio, f"{found}; stable {base}"


def _enough(found: Part, each: Operational) -> tuple[float, str]:
    """The share; with too few rankings only one that the missing ones could not bring below the limit."""
    if found.of < each.minimum_requests and found.count / each.minimum_requests > each.limit:
        return found.count / each.minimum_requests, f"{found}, and at least so much whatever comes up to the minimum"
    _need(found.of, each, CANDIDATE)
    return found.count / found.of, str(found)


def _part(api: PrometheusApi, kind: OperationalKind, subject: Subject) -> Part:
    outcomes = api.by_label(subject.requests(), "outcome")
    total = sum(outcomes.values())
    if kind is OperationalKind.FAILURES:
        return Part(total - outcomes.get("ok", 0.0), total)
    degraded = api.by_label(subject.degraded(), "")
    if total and not degraded:  # transformers export it from the beginning, at 0
        raise NoData(f"{subject.arm} has rankings and no series sightline_arm_degraded_total; is it scraped?")
    return Part(sum(degraded.values()), total)


def _seconds(api: PrometheusApi, each: Operational, candidate: Subject, stable: Subject) -> tuple[float, str]:
    value, count = _p99(api, each, candidate)
    if not each.relative:
        return value, f"of {count:,.0f} rankings"
    base, base_count = _p99(api, each, stable)
    detail = f"{value:.4g} s of {count:,.0f} rankings; stable {base:.4g} s of {base_count:,.0f}"
    return value / base, detail


def _p99(api: PrometheusApi, each: Operational, subject: Subject) -> tuple[float, float]:
    """The quantile in seconds, and of how many rankings. Raises NoData."""
    buckets = {float(edge): count for edge, count in api.by_label(subject.seconds(), "le").items()}
    count = buckets.get(math.inf, 0.0)
    _need(count, each, subject.arm)
    value = quantile(buckets, _P99)
    if not math.isfinite(value):
        largest = max((edge for edge in buckets if math.isfinite(edge)), default=0.0)
        if not each.relative and largest > each.limit:
            return largest, count  # longer than that, and so beyond the limit
        raise NoData(f"{subject.arm}: more than 1 % took longer than {largest:g} s, the last bucket of the histogram")
    return value, count


def quantile(buckets: Mapping[float, float], share: float) -> float:
    """A quantile of a histogram, linear within its bucket, as Prometheus' histogram_quantile has it.

    Args:
        buckets: cumulative counts by upper edge, the last one infinity.

    Returns:
        Seconds; infinity where the quantile is beyond the last finite edge.
    """
    rank = share * buckets[math.inf]
    below, low = 0.0, 0.0
    for edge, count in sorted(buckets.items()):
        if count >= rank and count > below:
            return low + (edge - low) * (rank - below) / (count - below)
        below, low = max(below, count), edge
    return math.inf


def _query(api: PrometheusApi, each: Operational, candidate: Subject, stable: Subject) -> tuple[float, str]:
    query = each.query or ""
    try:
        asked, base_asked = candidate.fill(query), stable.fill(query)
    except PromqlError as cause:
        raise NoData(str(cause)) from cause
    value = api.number(asked)
    if not each.relative:
        return value, ""
    base = api.number(base_asked)
    if base <= 0:
        raise NoData(f"stable gives {base:g}; expected more than 0 to divide by")
    return value / base, f"{value:.4g}; stable {base:.4g}"


def _need(count: float, each: Operational, arm: str) -> None:
    if count < each.minimum_requests:
        found = f"{count:,.0f} rankings" if count else "no rankings"
        raise NoData(f"{arm} had {found} in {each.window}; expected at least {each.minimum_requests} (minimumRequests)")
