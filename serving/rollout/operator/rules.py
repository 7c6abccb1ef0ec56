"""Validation rules of Experiments in CEL: what the API server refuses beyond types, bounds and patterns.

Each is a field's path below the object and the rules there: `self` is the value, `oldSelf` the one before an update.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any, get_args, get_origin

from pydantic import BaseModel

from serving.rollout.experiment.durations import OUT_OF_RANGE, PATTERN
from serving.rollout.experiment.rules import RULES as PART_RULES
from serving.rollout.experiment.rules import seconds
from serving.rollout.experiment.spec import ExperimentSpec

Rules = tuple[tuple[str, str], ...]
"""Rule and message."""

_STARTED = "has(oldSelf.status) && has(oldSelf.status.phase) && oldSelf.status.phase != 'Pending'"


def _fixed(field: str, why: str) -> tuple[str, str]:
    rule = f"!({_STARTED}) || self.spec.{field} == oldSelf.spec.{field}"
    return rule, f"spec.{field} cannot change once the experiment has started: {why}; make another Experiment"


_DURATION = (f"{seconds('self')} >= 1.0 && {seconds('self')} <= 34560000.0", OUT_OF_RANGE)
_HONEST = "the numbers would be of two different questions"

_CHANGES: Mapping[str, Rules] = MappingProxyType(
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
    }
)


def rules() -> Mapping[str, Rules]:
    """All rules, by the path of the field that they belong to: of changes, of the spec's parts, of every duration."""
    found: dict[str, Rules] = dict(_CHANGES)
    for path, part in _parts(ExperimentSpec, "spec"):
        if made := tuple((each.cel, each.says) for each in PART_RULES.get(part.__name__, ())):
            found[path] = found.get(path, ()) + made
        for name, field in part.model_fields.items():
            if field.annotation is str and any(getattr(each, "pattern", None) == PATTERN for each in field.metadata):
                found[f"{path}.{field.alias or name}"] = (_DURATION,)
    return MappingProxyType(found)


def _parts(part: type[BaseModel], path: str) -> Iterator[tuple[str, type[BaseModel]]]:
    """The classes of the spec with their paths; a list's entries as `stages[]`."""
    yield path, part
    for name, field in part.model_fields.items():
        for inner, many in _inner(field.annotation):
            yield from _parts(inner, f"{path}.{field.alias or name}{'[]' if many else ''}")


def _inner(annotation: Any) -> Iterator[tuple[type[BaseModel], bool]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation, False
        return
    for each in get_args(annotation):
        if isinstance(each, type) and issubclass(each, BaseModel):
            yield each, get_origin(annotation) is tuple


def with_rules(schema: dict[str, Any]) -> dict[str, Any]:
    """The whole object's schema, its rules put in place. Raises KeyError for a rule of a field that is not there."""
    for path, found in rules().items():
        place = schema
        for step in filter(None, path.split(".")):
            many = step.count("[]")
            place = place["properties"][step.removesuffix("[]")]
            place = place["items"] if many else place
        place["x-kubernetes-validations"] = [{"rule": rule, "message": message} for rule, message in found]
    return schema
