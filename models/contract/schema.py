"""The contract: a frozen, versioned description of what the ranker eats, with a digest."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationError, model_validator

from models.contract.errors import ContractFormatError, DigestMismatchError, Fault
from models.contract.features import CaptionFeature, CategoricalFeature, DenseFeature, Description, Name, Source
from models.contract.frozen import Frozen, broken, faults_of, without
from models.contract.strict_json import parse_object

MAX_FEATURES = 4096
ROWS = -1  # the free axis of a tensor's shape


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """A tensor by name: numpy dtype name and shape, -1 for the rows."""

    name: str
    dtype: str
    shape: tuple[int, ...]


class Contract(Frozen):
    """What a ranker is fed. `format` is the version of the encoding arithmetic itself; `version` is the user's.

    Format 2 has dense features with learned bounds and quantiles; format 1 is read and encodes as it always did.
    Raises `ContractFormatError` with every fault found.
    """

    format: Literal[1, 2] = 1
    name: Name
    version: Annotated[int, Field(ge=1, le=2**31 - 1)]
    description: Description = ""
    dense: Annotated[tuple[DenseFeature, ...], Field(max_length=MAX_FEATURES, strict=False)] = ()
    categorical: Annotated[tuple[CategoricalFeature, ...], Field(max_length=MAX_FEATURES, strict=False)] = ()
    caption: CaptionFeature | None = None

    def __init__(self, **data: Any) -> None:
        try:
            super().__init__(**data)
        except ContractFormatError as error:
            raise ContractFormatError(error.where, _all_faults(error.faults, data)) from error

    __init__.__pydantic_base_init__ = True  # type: ignore[attr-defined]

    @model_validator(mode="after")
    def _features_agree(self) -> Self:
        for fault in cross_faults({"dense": self.dense, "categorical": self.categorical, "caption": self.caption}):
            raise broken(fault.path, fault.value, fault.expected, fault.fix)
        for place, feature in enumerate(self.dense):
            if self.format == 1 and feature.learned:
                expected = "no bounds and no knots in format 1"
                raise broken(
                    f"dense[{place}]", feature.name, expected, "write format: 2, or leave low, high, knots out"
                )
        return self

    @property
    def digest(self) -> str:
        """`sha256:<64 hex>` of `canonical_json()`."""
        return self._digest

    @cached_property
    def _digest(self) -> str:
        return "sha256:" + hashlib.sha256(self.canonical_json().encode("ascii")).hexdigest()

    def canonical_json(self) -> str:
        """The contract without descriptions: keys sorted, no white space, ASCII, shortest round-trip floats."""
        document = without(self.model_dump(mode="python"), "description")
        return json.dumps(
            _positive_zeros(document), sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False
        )

    def to_json(self) -> str:
        """The contract to keep in a file: descriptions and `digest` included, indented, ASCII, ends with a new line."""
        document = {"digest": self.digest, **self.model_dump(mode="json")}
        return json.dumps(document, indent=2, ensure_ascii=True, allow_nan=False) + "\n"

    @classmethod
    def from_json(cls, data: str | bytes) -> Self:
        """Read what `to_json` (or a person) wrote. A `digest` in it is checked; without one nothing is compared.

        Raises `ContractFormatError` (all faults), `DigestMismatchError`.
        """
        document = parse_object(data, cls.__name__)
        written = document.pop("digest", None)
        try:
            contract = cls.model_validate_json(json.dumps(document))
        except ValidationError as error:
            raise ContractFormatError(cls.__name__, _all_faults(faults_of(error), document)) from error
        if written is not None and written != contract.digest:
            raise DigestMismatchError(str(written), contract.digest, f"contract {contract.name} v{contract.version}")
        return contract

    @property
    def tensors(self) -> tuple[TensorSpec, ...]:
        """What the ranker is fed, in order; kinds of which the contract has no feature are left out."""
        specs = []
        if self.dense:
            specs.append(TensorSpec("dense", "float32", (ROWS, len(self.dense))))
        if self.categorical:
            specs.append(TensorSpec("categorical", "int64", (ROWS, len(self.categorical))))
        if self.caption is not None:
            parts = () if self.caption.parts == 1 else (self.caption.parts,)
            specs.append(TensorSpec("caption", "int64", (ROWS, self.caption.width, *parts)))
        return tuple(specs)

    @property
    def output(self) -> TensorSpec:
        """What the ranker answers: a probability per row."""
        return TensorSpec("score", "float32", (ROWS,))

    def names(self, source: Source) -> tuple[str, ...]:
        """Names of the columns that a source gives: dense features first, then categorical ones."""
        dense = [f.name for f in self.dense if f.source == source]
        return (*dense, *(f.name for f in self.categorical if f.source == source))

    def without_caption(self) -> Self:
        """The same contract without its caption: what an ablation is trained on. Another digest."""
        return self.model_copy(update={"caption": None})


def _positive_zeros(value: Any) -> Any:
    """-0.0 equals 0.0 and encodes the same bytes but for one sign: one spelling for both."""
    if isinstance(value, float):
        return value + 0.0
    if isinstance(value, dict):
        return {key: _positive_zeros(entry) for key, entry in value.items()}
    return [_positive_zeros(entry) for entry in value] if isinstance(value, (list, tuple)) else value


def _all_faults(found: Sequence[Fault], raw: Mapping[str, Any]) -> list[Fault]:
    """Field faults and faults between fields together: pydantic stops before the second kind if there is a first."""
    crossed = cross_faults(raw)
    return [fault for fault in found if fault.path not in {other.path for other in crossed}] + crossed


def cross_faults(raw: Mapping[str, Any]) -> list[Fault]:
    """Faults between features of a raw document or of model objects; ignores what it cannot read."""
    places = [(kind, i, _name(entry)) for kind in ("dense", "categorical") for i, entry in _entries(raw.get(kind))]
    counts = Counter(name for _, _, name in places if name is not None)
    seen: set[str] = set()
    faults = []
    for kind, index, name in places:
        if name is not None and counts[name] > 1 and name in seen:
            fix = "rename one of the features of that name"
            faults.append(Fault(f"{kind}[{index}].name", repr(name), "a name that no other feature has", fix))
        seen.add(name or "")
    if not places and not raw.get("caption"):
        faults.append(Fault("(whole)", "without any feature", "at least one feature", "add a feature or a caption"))
    return faults


def _entries(value: Any) -> list[tuple[int, Any]]:
    return list(enumerate(value)) if isinstance(value, (list, tuple)) else []


def _name(entry: Any) -> str | None:
    name = entry.get("name") if isinstance(entry, Mapping) else getattr(entry, "name", None)
    return name if isinstance(name, str) else None
