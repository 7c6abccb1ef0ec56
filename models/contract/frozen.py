"""The frozen, closed model that every part of a contract is, and how its faults are told."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import ErrorDetails, PydanticCustomError

from models.contract.errors import ContractFormatError, Fault, shown

_FIX = {
    "missing": "add the field",
    "extra_forbidden": "remove the key or correct its spelling",
    "union_tag_not_found": "add the key `kind`",
    "union_tag_invalid": "correct the key `kind`",
    "json_invalid": "correct the JSON",
}
_EXPECTED = {
    "missing": "a value (the field is required)",
    "extra_forbidden": "no such key",
    "union_tag_not_found": "an object whose `kind` names its type",
}
_UNION_FIELDS = {"encoding", "encoder"}


class Frozen(BaseModel):
    """Frozen pydantic model without room for unknown keys or converted types.

    Made in Python it raises `ContractFormatError` with every fault found; a number is not read from a string, nor an
    integer from a boolean.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False, validate_default=True)

    def __init__(self, **data: Any) -> None:
        try:
            super().__init__(**data)
        except ValidationError as error:
            raise ContractFormatError(type(self).__name__, faults_of(error)) from error

    # pydantic's own mark for "this __init__ only forwards": nested objects then go on being validated in one pass,
    # so that all faults of a whole contract are found together.
    __init__.__pydantic_base_init__ = True  # type: ignore[attr-defined]

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """A new object with some fields replaced; unlike pydantic's own it is checked, and caches nothing of the old.

        `deep` makes no difference: nothing in a frozen object can change.
        """
        return type(self)(**{**dict(self), **(update or {})})


def broken(path: str, value: object, expected: str, fix: str) -> PydanticCustomError:
    """The error of a rule over several fields; `path` is relative to the model that checks it."""
    return PydanticCustomError(
        "contract_rule", "{expected}", {"path": path, "value": shown(value), "expected": expected, "fix": fix}
    )


def faults_of(error: ValidationError) -> list[Fault]:
    """Every fault of a pydantic error, in the order of the fields."""
    return [_fault(detail) for detail in error.errors()]


def _fault(detail: ErrorDetails) -> Fault:
    kind, context = detail["type"], detail.get("ctx", {})
    location = path_of(detail["loc"])
    if kind == "contract_rule":
        return Fault(_joined(location, context["path"]), context["value"], context["expected"], context["fix"])
    value = "missing" if kind == "missing" else shown(detail["input"])
    expected = _EXPECTED.get(kind) or _phrase(detail["msg"])
    return Fault(location or "(whole)", value, expected, _FIX.get(kind, "change the value"))


def _phrase(message: str) -> str:
    return message.removeprefix("Input should be ").removeprefix("Value error, ")


def _joined(location: str, path: str) -> str:
    if not path:
        return location or "(whole)"
    return f"{location}.{path}" if location and not path.startswith("[") else location + path


def path_of(location: Iterable[int | str]) -> str:
    """`("categorical", 0, "encoding", "hash_buckets", "seed")` -> `categorical[0].encoding.seed`."""
    path, after_union = "", False
    for part in location:
        if after_union:  # pydantic puts the union's tag here; it is no key of the document
            after_union = False
            continue
        path += f"[{part}]" if isinstance(part, int) else f".{part}" if path else str(part)
        after_union = part in _UNION_FIELDS
    return path


def without(document: Mapping[str, Any], key: str) -> dict[str, Any]:
    """The document without every entry called `key`, at any depth."""
    return {name: _without_inside(value, key) for name, value in document.items() if name != key}


def _without_inside(value: Any, key: str) -> Any:
    if isinstance(value, Mapping):
        return without(value, key)
    if isinstance(value, (list, tuple)):
        return [_without_inside(entry, key) for entry in value]
    return value
