"""What a spec must not say, beyond types and patterns: each rule once in Python and once in CEL, with one sentence.

The classes of `spec.py` obey the Python side; the definition of Experiments carries the CEL side, which the API server
evaluates. Both refuse with the same sentence. Times are compared in seconds.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from itertools import pairwise
from types import MappingProxyType
from typing import Any

from serving.rollout.experiment.durations import length

KEPT = "kept"
"""Validation context of what an earlier version has let begin: it is read as it is, and these rules are not asked."""
SMALLEST_SHARE = 0.01
"""Percent: users are divided into ten thousand parts."""


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule of one part of the spec. `holds` takes the part, `cel` calls it `self`."""

    says: str
    holds: Callable[[Any], bool]
    cel: str


def seconds(text: str) -> str:
    """CEL for the seconds of a duration: CEL's own function knows no days."""
    unit = f"({text}.endsWith('d') ? 86400.0 : {text}.endsWith('h') ? 3600.0 : {text}.endsWith('m') ? 60.0 : 1.0)"
    return f"double({text}.substring(0, size({text}) - 1)) * {unit}"


def _at_most_maximum(field: str, says: str, *, less: bool = False) -> Rule:
    """A time of the analysis beside maximumTime."""
    name = "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in field)

    def holds(part: Any) -> bool:
        own, most = length(getattr(part, name)), length(part.maximum_time)
        return own < most if less else own <= most

    return Rule(says, holds, f"{seconds(f'self.{field}')} {'<' if less else '<='} {seconds('self.maximumTime')}")


def _alpha(field: str, name: str, most: float) -> Rule:
    return Rule(
        f"{field} is a chance of error: expected 0.000001 to {most:g}",
        lambda part: 1e-6 <= getattr(part, name) <= most,
        f"self.{field} >= 0.000001 && self.{field} <= {most}",
    )


def _url(field: str, name: str) -> Rule:
    return Rule(
        f"{field} is a base URL: expected http:// or https:// and a host",
        lambda part: getattr(part, name) is None or _is_url(getattr(part, name)),
        f"!has(self.{field}) || self.{field}.matches('^https?://[^/ ]+(/[^ ]*)?$')",
    )


def _is_url(text: str) -> bool:
    scheme, mark, rest = text.partition("://")
    return bool(mark) and scheme in ("http", "https") and rest[:1] not in ("", "/") and " " not in rest


def _grow(part: Any) -> bool:
    return all(round(b.share - a.share, 6) >= SMALLEST_SHARE for a, b in pairwise(part.stages))


def _own_names(part: Any) -> bool:
    names = [metric.name for metric in part.metrics()] + [each.name for each in part.guardrails]
    return len(set(names)) == len(names)


def _ramp_fits(part: Any) -> bool:
    ramp = sum((length(stage.hold) for stage in part.schedule.stages[:-1]), timedelta())
    return ramp < length(part.analysis.maximum_time)


_STAGES = "self.schedule.stages"
_LAST_HOLD = seconds(f"{_STAGES}[size({_STAGES}) - 1].hold")

RULES: Mapping[str, tuple[Rule, ...]] = MappingProxyType(
    {
        "Target": (
            Rule(
                "transformer names the transformer's Deployment with kind Deployment, and is left out otherwise",
                lambda part: (part.kind == "Deployment") == (part.transformer is not None),
                "(self.kind == 'Deployment') == has(self.transformer)",
            ),
        ),
        "Candidate": (
            Rule(
                "bundle has @sha256: in it and not 64 hexadecimal digits (0-9, a-f) behind it, at its end: expected "
                "s3://bucket/models/ranker/7@sha256:<bundle id>, or no digest",
                lambda part: "@sha256:" not in part.bundle or bool(re.search(r"@sha256:[0-9a-f]{64}\Z", part.bundle)),
                "!self.bundle.contains('@sha256:') || self.bundle.matches('@sha256:[0-9a-f]{64}$')",
            ),
        ),
        "Stage": (
            Rule(
                "share is in percent of users: expected 0.01 to 50, as users are divided into ten thousand parts",
                lambda part: part.share >= SMALLEST_SHARE,
                "self.share >= 0.01",
            ),
        ),
        "Schedule": (
            Rule(
                "shadowShare is in percent of users: expected 0 for none, or 0.01 to 100",
                lambda part: part.shadow_share == 0 or part.shadow_share >= SMALLEST_SHARE,
                "self.shadowShare == 0.0 || self.shadowShare >= 0.01",
            ),
            Rule(
                "stages must have growing shares, each at least 0.01 above the one before: a smaller share would move "
                "users",
                _grow,
                "self.stages.map(s, s.share).isSorted()"
                " && self.stages.all(a, self.stages.exists_one(b, b.share - a.share < 0.009999"
                " && a.share - b.share < 0.009999))",
            ),
        ),
        "Metric": (
            Rule(
                "capNonzero needs a quantile: give capQuantile or capLowerQuantile, too",
                lambda part: not part.cap_nonzero or part.capped,
                "!self.capNonzero || has(self.capQuantile) || has(self.capLowerQuantile)",
            ),
            Rule(
                "numerator and denominator are the same, and their ratio is 1 for everybody: leave the denominator out",
                lambda part: part.numerator != part.denominator,
                "!has(self.denominator) || self.numerator.event != self.denominator.event"
                " || self.numerator.aggregate != self.denominator.aggregate",
            ),
        ),
        "Margin": (_alpha("alpha", "alpha", 0.5),),
        "Operational": (
            Rule(
                "query is given with kind query, and with no other",
                lambda part: (part.kind == "query") == (part.query is not None),
                "(self.kind == 'query') == has(self.query)",
            ),
            Rule(
                "a relative query needs $arm in it, to ask for both arms",
                lambda part: not part.relative or part.query is None or "$arm" in part.query or "${arm}" in part.query,
                "!self.relative || !has(self.query) || self.query.contains('$arm') || self.query.contains('${arm}')",
            ),
            Rule(
                "limit of failures and degraded is a share of rankings: expected 0 to below 1, 0.01 is 1 %",
                lambda part: part.relative or part.kind not in ("failures", "degraded") or part.limit < 1,
                "self.relative || !(self.kind in ['failures', 'degraded']) || self.limit < 1.0",
            ),
            Rule(
                "limit in seconds, or times stable's value, is above 0: every candidate would pass a limit of 0",
                lambda part: part.limit > 0 or not (part.relative or part.kind == "p99Seconds"),
                "self.limit > 0.0 || !(self.relative || self.kind == 'p99Seconds')",
            ),
            Rule(
                "window is at most 7d: what is read over a longer time is found too late",
                lambda part: length(part.window) <= timedelta(days=7),
                f"{seconds('self.window')} <= 604800.0",
            ),
            Rule(
                "minimumRequests is at most 1000000: with more no reading ever comes",
                lambda part: part.minimum_requests <= 1_000_000,
                "self.minimumRequests <= 1000000",
            ),
        ),
        "Analysis": (
            _alpha("alpha", "alpha", 0.5),
            _alpha("ratioAlpha", "ratio_alpha", 0.1),
            _alpha("guardrailAlpha", "guardrail_alpha", 0.5),
            Rule(
                "plannedUsers and minimumUsers are at most 10000000000",
                lambda part: max(part.planned_users, part.minimum_users) <= 10_000_000_000,
                "self.plannedUsers <= 10000000000 && self.minimumUsers <= 10000000000",
            ),
            _at_most_maximum("minimumTime", "minimumTime is longer than maximumTime: no win could ever come"),
            _at_most_maximum(
                "attributionWindow",
                "attributionWindow is not shorter than maximumTime: no user's numbers are complete before the end",
                less=True,
            ),
            _at_most_maximum("lookInterval", "lookInterval is longer than maximumTime: nobody would look"),
            _at_most_maximum("noDataLimit", "noDataLimit is longer than maximumTime: it would never be over"),
        ),
        "EvidenceSource": (
            Rule(
                "give exactly one of collector and sql: where outcomes come from",
                lambda part: (part.collector is None) != (part.sql is None),
                "has(self.collector) != has(self.sql)",
            ),
            _url("collector", "collector"),
            _url("prometheus", "prometheus"),
        ),
        "SqlEvidence": (
            Rule(
                "kind sums takes query alone, kind users takes exposures and outcomes",
                lambda part: (
                    ((part.kind == "sums") == (part.query is not None))
                    and (part.kind == "users") == (part.exposures is not None) == (part.outcomes is not None)
                ),
                "(self.kind == 'sums') == has(self.query) && (self.kind == 'users') == has(self.exposures)"
                " && (self.kind == 'users') == has(self.outcomes)",
            ),
        ),
        "ExperimentSpec": (
            Rule(
                "guardrails need evidence.prometheus, the Prometheus that they ask",
                lambda part: not part.guardrails or part.evidence.prometheus is not None,
                "size(self.guardrails) == 0 || has(self.evidence.prometheus)",
            ),
            Rule(
                "metrics have caps and evidence.sql is of kind sums, which has no users to cap: leave quantiles out "
                "and cap in the query, or give single users (kind: users)",
                lambda part: (
                    part.evidence.sql is None
                    or part.evidence.sql.kind != "sums"
                    or not any(metric.capped for metric in part.metrics())
                ),
                "!has(self.evidence.sql) || self.evidence.sql.kind != 'sums'"
                " || !(has(self.primaryMetric.capQuantile) || has(self.primaryMetric.capLowerQuantile)"
                " || self.secondaryMetrics.exists(m, has(m.capQuantile) || has(m.capLowerQuantile))"
                " || self.metricGuardrails.exists(g, has(g.metric.capQuantile) || has(g.metric.capLowerQuantile)))",
            ),
            Rule(
                "two metrics or guardrails have the same name; give each its own",
                _own_names,
                "self.secondaryMetrics.all(m, m.name != self.primaryMetric.name"
                " && self.secondaryMetrics.exists_one(o, o.name == m.name)"
                " && self.metricGuardrails.all(g, g.metric.name != m.name)"
                " && self.guardrails.all(g, g.name != m.name))"
                " && self.metricGuardrails.all(m, m.metric.name != self.primaryMetric.name"
                " && self.guardrails.all(g, g.name != m.metric.name)"
                " && self.metricGuardrails.exists_one(g, g.metric.name == m.metric.name))"
                " && self.guardrails.all(m, m.name != self.primaryMetric.name"
                " && self.guardrails.exists_one(g, g.name == m.name))",
            ),
            Rule(
                "the holds of the stages before the last together are not shorter than analysis.maximumTime: the last "
                "stage, which has the verdict, would never begin",
                _ramp_fits,
                f"{_STAGES}.map(s, {seconds('s.hold')}).sum() - {_LAST_HOLD} < {seconds('self.analysis.maximumTime')}",
            ),
        ),
    }
)
