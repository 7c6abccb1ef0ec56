"""Validation rules of Experiments in CEL: what the API server refuses beyond types, bounds and patterns.

Each is a field's path below the object and the rules there: `self` is the value, `oldSelf` the one before an update.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

Rules = tuple[tuple[str, str], ...]
"""Rule and message."""

_STARTED = "has(oldSelf.status) && has(oldSelf.status.phase) && oldSelf.status.phase != 'Pending'"


def _fixed(field: str, why: str) -> tuple[str, str]:
    rule = f"!({_STARTED}) || self.spec.{field} == oldSelf.spec.{field}"
    return rule, f"spec.{field} cannot change once the experiment has started: {why}; make another Experiment"


_HONEST = "the numbers would be of two different questions"

RULES: Mapping[str, Rules] = MappingProxyType(
    {
        "": (
            (
                "self.metadata.name.matches('^[a-z]([a-z0-9-]{0,29}[a-z0-9])?$')",
                "metadata.name becomes part of object names: at most 31 letters, digits and dashes, a letter first",
            ),
            _fixed("target", "its users are divided already"),
            _fixed("candidate", "users have met this one"),
            _fixed("primaryMetric", _HONEST),
            _fixed("secondaryMetrics", _HONEST),
            _fixed("metricGuardrails", _HONEST),
            _fixed("analysis", "bounds hold for what was planned before the first look"),
            _fixed("guardrails", "users met the candidate under these"),
            _fixed("evidence", _HONEST),
            (
                "!oldSelf.spec.aborted || self.spec.aborted",
                "spec.aborted cannot be taken back: users are on stable already; make another Experiment",
            ),
        ),
        "spec": (
            (
                "size(self.guardrails) == 0 || has(self.evidence.prometheus)",
                "guardrails need evidence.prometheus, the Prometheus that they ask",
            ),
            (
                "self.secondaryMetrics.all(m, m.name != self.primaryMetric.name)"
                " && self.metricGuardrails.all(g, g.metric.name != self.primaryMetric.name)"
                " && self.guardrails.all(g, g.name != self.primaryMetric.name)",
                "a metric or guardrail has the primary metric's name; give each its own",
            ),
            (
                "self.secondaryMetrics.all(m, self.metricGuardrails.all(g, g.metric.name != m.name)"
                " && self.guardrails.all(g, g.name != m.name))"
                " && self.metricGuardrails.all(m, self.guardrails.all(g, g.name != m.metric.name)"
                " && self.metricGuardrails.exists_one(g, g.metric.name == m.metric.name))",
                "two metrics or guardrails have the same name; give each its own",
            ),
        ),
        "spec.target": (
            (
                "(self.kind == 'Deployment') == has(self.transformer)",
                "transformer names the transformer's Deployment with kind Deployment, and is left out otherwise",
            ),
        ),
        "spec.schedule": (
            (
                "self.stages.map(s, s.share).isSorted()"
                " && self.stages.all(a, self.stages.exists_one(b, b.share == a.share))",
                "stages must have growing shares: a smaller share would move users",
            ),
        ),
        "spec.evidence": (
            ("has(self.collector) != has(self.sql)", "give exactly one of collector and sql: where outcomes come from"),
        ),
        "spec.evidence.sql": (
            (
                "(self.kind == 'sums') == has(self.query) && (self.kind == 'users') == has(self.exposures)"
                " && (self.kind == 'users') == has(self.outcomes)",
                "kind sums takes query alone, kind users takes exposures and outcomes",
            ),
        ),
        "spec.guardrails[]": (
            ("(self.kind == 'query') == has(self.query)", "query is given with kind query, and with no other"),
            (
                "!self.relative || !has(self.query) || self.query.contains('$arm') || self.query.contains('${arm}')",
                "a relative query needs $arm in it, to ask for both arms",
            ),
        ),
    }
)


def with_rules(schema: dict[str, Any]) -> dict[str, Any]:
    """The whole object's schema, its rules put in place. Raises KeyError for a rule of a field that is not there."""
    for path, rules in RULES.items():
        place = schema
        for step in filter(None, path.split(".")):
            place = place["properties"][step.removesuffix("[]")]
            place = place["items"] if step.endswith("[]") else place
        place["x-kubernetes-validations"] = [{"rule": rule, "message": message} for rule, message in rules]
    return schema
