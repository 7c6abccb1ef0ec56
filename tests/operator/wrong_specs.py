"""Settings that must fail, each with the sentence by which both the classes and the API server refuse it."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "manifests" / "examples" / "experiments" / "kserve.yaml"
"""An Experiment with every part."""

_LENGTH = "a length of time from 1s to 400d is expected"
_STAGES = "spec.schedule.stages"
_QUERY = {"name": "own", "kind": "query", "limit": 1}
_FAILURES = {"name": "failures", "kind": "failures", "limit": 0.01}
_P99 = {"name": "p99", "kind": "p99Seconds", "limit": 1}
_RETURNS = {"name": "returns", "numerator": {"event": "return"}}
_SUMS = {"prometheus": "http://prometheus:9090", "sql": {"kind": "sums", "query": "SELECT 1"}}

DURATIONS = [
    ("spec.candidate.startLimit", "0s"),
    ("spec.schedule.shadowHold", "0m"),
    (_STAGES, [{"share": 1, "hold": "0h"}, {"share": 50}]),
    ("spec.guardrails", [{**_FAILURES, "window": "0s"}]),
    ("spec.analysis.minimumTime", "0d"),
    ("spec.analysis.maximumTime", "0.000d"),
    ("spec.analysis.attributionWindow", "0s"),
    ("spec.analysis.before", "0d"),
    ("spec.analysis.lookInterval", "0.5s"),
    ("spec.analysis.noDataLimit", "0m"),
    ("spec.analysis.maximumTime", "999999d"),
    ("spec.analysis.before", "401d"),
]

WRONG: list[tuple[str, Any, str]] = [
    *((place, value, _LENGTH) for place, value in DURATIONS),
    ("spec.target.transformer", "t", "transformer names the transformer's Deployment with kind Deployment"),
    ("spec.candidate.replicas", 0, "should be greater than or equal to 1"),
    ("spec.candidate.replicas", 101, "should be less than or equal to 100"),
    ("spec.schedule.shadowShare", 0.001, "shadowShare is in percent of users: expected 0 for none, or 0.01 to 100"),
    ("spec.schedule.shadowShare", 101, "should be less than or equal to 100"),
    ("spec.schedule.shadowShare", -1, "should be greater than or equal to 0"),
    (_STAGES, [{"share": 0.001}, {"share": 50}], "share is in percent of users: expected 0.01 to 50"),
    (_STAGES, [{"share": 0}], "should be greater than 0"),
    (_STAGES, [{"share": 110}], "should be less than or equal to 50"),
    (_STAGES, [{"share": 5}, {"share": 1}], "stages must have growing shares"),
    (_STAGES, [{"share": 5}, {"share": 5}], "stages must have growing shares"),
    (_STAGES, [{"share": 5}, {"share": 5.001}], "stages must have growing shares"),
    (_STAGES, [{"share": 1, "hold": "20d"}, {"share": 5, "hold": "22d"}, {"share": 50}], "would never begin"),
    ("spec.primaryMetric.denominator", {"event": "purchase"}, "numerator and denominator are the same"),
    ("spec.metricGuardrails", [{"metric": _RETURNS, "margin": 0}], "should be greater than 0"),
    ("spec.metricGuardrails", [{"metric": _RETURNS, "margin": 1}], "should be less than 1"),
    ("spec.metricGuardrails", [{"metric": _RETURNS, "margin": 0.1, "alpha": 0.9}], "alpha is a chance of error"),
    ("spec.guardrails", [{**_FAILURES, "limit": 1}], "limit of failures and degraded is a share of rankings"),
    ("spec.guardrails", [{**_FAILURES, "limit": 5}], "limit of failures and degraded is a share of rankings"),
    ("spec.guardrails", [{**_FAILURES, "limit": -0.1}], "should be greater than or equal to 0"),
    ("spec.guardrails", [{**_FAILURES, "limit": 0, "relative": True}], "is above 0"),
    ("spec.guardrails", [{**_P99, "limit": 0}], "is above 0"),
    ("spec.guardrails", [{**_FAILURES, "minimumRequests": 0}], "should be greater than or equal to 1"),
    ("spec.guardrails", [{**_FAILURES, "minimumRequests": 10**9}], "minimumRequests is at most 1000000"),
    ("spec.guardrails", [{**_FAILURES, "window": "8d"}], "window is at most 7d"),
    ("spec.guardrails", [_QUERY], "query is given with kind query"),
    ("spec.guardrails", [{**_FAILURES, "query": "up"}], "query is given with kind query"),
    ("spec.guardrails", [{**_QUERY, "query": "up", "relative": True}], "a relative query needs $arm in it"),
    ("spec.guardrails", [{**_FAILURES, "name": "revenue"}], "two metrics or guardrails have the same name"),
    ("spec.guardrails", [{**_FAILURES, "name": "buyers"}], "two metrics or guardrails have the same name"),
    ("spec.guardrails", [{**_FAILURES, "name": "returns"}], "two metrics or guardrails have the same name"),
    ("spec.metricGuardrails", [{"metric": _RETURNS, "margin": 0.1}] * 2, "two metrics or guardrails have the same"),
    ("spec.analysis.alpha", 0, "should be greater than 0"),
    ("spec.analysis.alpha", 0.9, "alpha is a chance of error: expected 0.000001 to 0.5"),
    ("spec.analysis.alpha", 1e-300, "alpha is a chance of error: expected 0.000001 to 0.5"),
    ("spec.analysis.ratioAlpha", 0.5, "ratioAlpha is a chance of error: expected 0.000001 to 0.1"),
    ("spec.analysis.guardrailAlpha", 0.7, "guardrailAlpha is a chance of error: expected 0.000001 to 0.5"),
    ("spec.analysis.plannedUsers", 99, "should be greater than or equal to 100"),
    ("spec.analysis.plannedUsers", 10**11, "plannedUsers and minimumUsers are at most 10000000000"),
    ("spec.analysis.minimumUsers", 1, "should be greater than or equal to 2"),
    ("spec.analysis.looks", 0, "should be greater than or equal to 1"),
    ("spec.analysis.minimumTime", "43d", "minimumTime is longer than maximumTime"),
    ("spec.analysis.attributionWindow", "42d", "attributionWindow is not shorter than maximumTime"),
    ("spec.analysis.lookInterval", "50d", "lookInterval is longer than maximumTime"),
    ("spec.analysis.noDataLimit", "50d", "noDataLimit is longer than maximumTime"),
    ("spec.evidence.sql", {"query": "SELECT 1"}, "give exactly one of collector and sql"),
    ("spec.evidence", _SUMS, "evidence.sql is of kind sums, which has no users to cap"),
    ("spec.evidence.collector", "sightline-collector:8090", "collector is a base URL: expected http:// or https://"),
    ("spec.evidence.prometheus", "http://", "prometheus is a base URL: expected http:// or https:// and a host"),
    ("spec.evidence.prometheus", None, "guardrails need evidence.prometheus"),
]


def example(place: str = "", value: Any = None) -> dict[str, Any]:
    """The example, one field of it changed; None: the field is left out."""
    made: dict[str, Any] = yaml.safe_load(EXAMPLE.read_text())
    if not place:
        return made
    target: Any = made
    *steps, last = place.split(".")
    for step in steps:
        target = target.setdefault(step, {})
    if value is None:
        target.pop(last)
    else:
        target[last] = copy.deepcopy(value)
    return made
