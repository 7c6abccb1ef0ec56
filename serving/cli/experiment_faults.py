"""What is wrong with an experiment's file: every fault at once, with field, value, what was expected and what to do."""

from __future__ import annotations

import types
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from serving.rollout.experiment import durations, spec

_PATTERNS = {
    durations.PATTERN: ("a number and a unit: 90s, 30m, 12h or 7d", "write it as one number with s, m, h or d"),
    r"^[a-z]([a-z0-9-]{0,29}[a-z0-9])?$": (
        "at most 31 lower-case letters, digits and dashes, a letter first",
        "choose such a name: it becomes part of the names of objects",
    ),
    r"^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$": (
        "a name as Kubernetes has them: lower-case letters, digits, dashes and dots",
        "copy it from `kubectl get`",
    ),
    r"^[a-z][a-z0-9_]{0,62}$": ("lower-case letters, digits and underscores, a letter first", "use the event's name"),
}
_LONGEST = 80


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault; `field` is its place in the resource, spec.schedule.stages[0].share."""

    field: str
    value: str
    expected: str
    fix: str


class ExperimentFileError(Exception):
    """A file that no experiment can be started from; the message lists every fault."""

    def __init__(self, file: str, faults: Sequence[Fault]) -> None:
        many = "1 fault" if len(faults) == 1 else f"{len(faults)} faults"
        lines = [f"{file}: {many}, and nothing was created"]
        for each in faults:
            lines += [f"  {each.field}: {each.value}", f"    expected {each.expected}", f"    {each.fix}"]
        super().__init__("\n".join(lines))
        self.faults = tuple(faults)


def faults_of(error: ValidationError) -> list[Fault]:
    """Every fault that a validation of `ExperimentSpec` found."""
    found = error.errors(include_url=False)
    places = [each["loc"] for each in found]
    kept = []
    for each in found:
        # a list whose entries are refused is also told to be too short, which nobody needs to hear
        inner = any(len(place) > len(each["loc"]) and place[: len(each["loc"])] == each["loc"] for place in places)
        if not (each["type"] == "too_short" and inner):
            kept.append(_fault(each))
    return kept


def _fault(error: Any) -> Fault:
    place: tuple[str | int, ...] = error["loc"]
    kind, value = error["type"], shown(error["input"])
    name = str(place[-1]) if place else ""
    field = "spec" + "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in place)
    if kind == "missing":
        return Fault(field, "not given", _meaning(place) or _shape(place), f"add {name}")
    if kind == "extra_forbidden":
        known = _fields(place[:-1])
        return Fault(field, value, f"one of {', '.join(known)}", _instead(name, known, "remove it: nothing reads it"))
    if kind in ("literal_error", "enum"):
        choices = [part.strip("'") for part in error["ctx"]["expected"].replace(" or ", ", ").split(", ")]
        return Fault(field, value, error["ctx"]["expected"], _instead(str(error["input"]), choices, "choose one"))
    if kind == "string_pattern_mismatch" and error["ctx"]["pattern"] in _PATTERNS:
        return Fault(field, value, *_PATTERNS[error["ctx"]["pattern"]])
    if kind == "value_error":
        said = str(error["ctx"]["error"])
        return Fault(field, value, said.partition("expected ")[2] or said, f"correct it: {said}")
    meaning = _meaning(place)
    expected = error["msg"].removeprefix("Input should be ").removeprefix("Value should ")
    return Fault(field, value, expected, f"correct it ({meaning[0].lower()}{meaning[1:]})" if meaning else "correct it")


def shown(value: Any) -> str:
    """A value on one line, cut where it is long."""
    text = repr(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


def _instead(name: str, known: Sequence[str], otherwise: str) -> str:
    close = get_close_matches(name, known, 1, cutoff=0.6)
    return f"did you mean {close[0]}?" if close else otherwise


def _meaning(place: Sequence[str | int]) -> str:
    """What the schema says of the field."""
    found = _field(place)
    return (found.description or "") if found is not None else ""


def _shape(place: Sequence[str | int]) -> str:
    """What a field without a description holds."""
    fields = _fields(place)
    return f"a mapping with {', '.join(fields)}" if fields else "a value"


def _fields(place: Sequence[str | int]) -> list[str]:
    model = _model(place)
    return [each.alias or name for name, each in model.model_fields.items()] if model else []


def _field(place: Sequence[str | int]) -> FieldInfo | None:
    model = _model(place[:-1]) if place else None
    if model is None or isinstance(place[-1], int):
        return None
    fields = model.model_fields
    return next((each for name, each in fields.items() if place[-1] in (name, each.alias)), None)


def _model(place: Sequence[str | int]) -> type[BaseModel] | None:
    """The part of the schema at that place."""
    if not place:
        return spec.ExperimentSpec
    if isinstance(place[-1], int):
        return _model(place[:-1])
    field = _field(place)
    return _within(field.annotation) if field is not None else None


def _within(annotation: Any) -> type[BaseModel] | None:
    """The model in X, X | None, tuple[X, ...]."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    if get_origin(annotation) in (tuple, Union, types.UnionType):
        return next((found for part in get_args(annotation) if (found := _within(part))), None)
    return None
