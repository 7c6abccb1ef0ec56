"""Which features a contract takes from which source, and what a raw value of each must be."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from models.contract import CategoricalFeature, Contract, DenseFeature, IntegerRange

OWN_IDS = {"user": "user_id", "item": "item_id"}
INT64 = range(-(2**63), 2**63)


@dataclass(frozen=True, slots=True)
class ValueKind:
    """What JSON value a feature takes; null always means: missing. 1.0 is an integer, as JSON has it."""

    kind: Literal["number", "integer", "boolean", "string"]

    def fault(self, value: object, text_bytes: int) -> tuple[str, str] | None:
        """Return what was expected and what to do, None if the value fits. A boolean fits a boolean feature alone."""
        if value is None or (self.kind == "boolean" and isinstance(value, bool)):
            return None
        if self.kind == "string":
            if not isinstance(value, str):
                return "a string or null", "write the value as a string"
            size = len(value.encode(errors="replace"))
            if size > text_bytes:
                return f"at most {text_bytes} bytes of UTF-8 (it has {size})", "shorten the value"
            return None if value.isascii() or _encodes(value) else ("valid Unicode", "remove lone surrogates")
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            return f"{_A[self.kind]} or null", "write the value as a JSON number"
        if self.kind in ("integer", "boolean"):
            if (isinstance(value, int) or value.is_integer()) and int(value) in INT64:
                return None
            return f"{_A[self.kind]} of 64 bits or null", "write the value without a fraction"
        if isinstance(value, int) or math.isfinite(value):
            return None if abs(value) <= _FLOAT_MAX else ("a number within float64", "give a smaller number")
        return "a finite number or null", "leave the feature out when it is not known"


class FeatureNames:
    """The features of a contract by source, without the ids that a request carries in their own fields."""

    def __init__(self, contract: Contract) -> None:
        self._kinds: dict[str, dict[str, ValueKind]] = {"user": {}, "context": {}, "item": {}}
        features: list[DenseFeature | CategoricalFeature] = [*contract.dense, *contract.categorical]
        for feature in features:
            self._kinds[feature.source][feature.name] = ValueKind(_kind_of(feature))
        self.has_id = {s: self._kinds[s].pop(name, None) is not None for s, name in OWN_IDS.items()}

    def kinds(self, source: str) -> Mapping[str, ValueKind]:
        """Feature name to value kind, in the contract's order, of "user", "context" or "item"."""
        return self._kinds[source]


def _kind_of(feature: DenseFeature | CategoricalFeature) -> Literal["number", "integer", "boolean", "string"]:
    if isinstance(feature, DenseFeature):
        return "number"
    if not isinstance(feature.encoding, IntegerRange):
        return "string"
    return "boolean" if feature.encoding.binary else "integer"


def _encodes(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


_A = {"number": "a number", "integer": "an integer", "boolean": "true, false or an integer"}
_FLOAT_MAX = 1.7976931348623157e308
