"""The features of a contract: dense numbers, categorical values, the caption."""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, Any, Literal, Self

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from models.contract.encoders import MAX_BUCKETS, Buckets, Encoder, Seed
from models.contract.frozen import Frozen, broken
from models.contract.reserved import RESERVED

Source = Literal["user", "item", "context"]
SOURCES: tuple[Source, ...] = ("user", "context", "item")

Name = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[A-Za-z][A-Za-z0-9_.\-]*$")]
Description = Annotated[str, Field(max_length=4096)]
MAX_TOKENS = 4096
MAX_VALUES = 1_000_000
INT64_MAX = 2**63 - 1


Knot = tuple[float, float]
MAX_KNOTS = 1025


class DenseFeature(Frozen):
    """One number: float32((transform(clip(value)) - mean) / std), computed in float64.

    A missing value becomes `default`. `default`, `low` and `high` are raw values: `default` is clipped, transformed
    and scaled like any other. `low` and `high` are the bounds that were learned with the scale; None clips nothing
    there. `quantile` interpolates between `knots` (raw value, share of the training rows below it) and stays at the
    outermost ones. Bounds and knots belong to contracts of format 2; where none is given the document has none.
    """

    name: Name
    source: Source
    default: float
    mean: float = 0.0
    std: Annotated[float, Field(gt=0.0)] = 1.0
    transform: Literal["identity", "log1p", "quantile"] = "identity"
    low: float | None = None
    high: float | None = None
    knots: Annotated[tuple[Annotated[Knot, Field(strict=False)], ...], Field(max_length=MAX_KNOTS, strict=False)] = ()
    description: Description = ""

    @property
    def learned(self) -> bool:
        """Whether it has bounds or knots, which contracts of format 1 do not know."""
        return self.low is not None or self.high is not None or bool(self.knots)

    @model_validator(mode="after")
    def _bounds_are_in_order(self) -> Self:
        if self.low is not None and self.high is not None and self.high < self.low:
            raise broken("high", self.high, f"at least low ({self.low})", "swap or correct low and high")
        return self

    @model_validator(mode="after")
    def _logarithms_exist(self) -> Self:
        for path, value in (("default", self.default), ("low", self.low)):
            if self.transform == "log1p" and value is not None and value <= -1.0:
                raise broken(path, value, "a number above -1 for log1p", f"change {path} or the transform")
        return self

    @model_validator(mode="after")
    def _knots_rise(self) -> Self:
        if self.transform != "quantile":
            if self.knots:
                raise broken("knots", self.knots, f"none for the transform {self.transform}", "leave the knots out")
            return self
        values, shares = zip(*self.knots, strict=True) if self.knots else ((), ())
        rising = all(a < b for column in (values, shares) for a, b in pairwise(column))
        if len(values) < 2 or not rising or shares[0] < 0.0 or shares[-1] > 1.0:
            expected = "two or more pairs of value and share, both rising, shares of 0 to 1"
            raise broken("knots", self.knots, expected, "learn the knots again")
        return self

    @model_serializer(mode="wrap")
    def _without_what_is_not_given(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """So that a contract of format 1 keeps its document and its digest."""
        document: dict[str, Any] = handler(self)
        absent = [name for name in ("low", "high", "knots") if getattr(self, name) in (None, ())]
        return {name: value for name, value in document.items() if name not in absent}


class Vocabulary(Frozen):
    """Known strings: bucket 2 + position; any other string is 1, a missing one 0."""

    kind: Literal["vocabulary"] = "vocabulary"
    values: Annotated[
        tuple[Annotated[str, Field(max_length=1024)], ...], Field(min_length=1, max_length=MAX_VALUES, strict=False)
    ]

    @model_validator(mode="after")
    def _values_differ(self) -> Self:
        if len(set(self.values)) != len(self.values):
            seen: set[str] = set()
            twice = [value for value in self.values if value in seen or seen.add(value)]  # type: ignore[func-returns-value]
            raise broken("values", twice, "values that all differ", "remove the repeated values")
        return self

    @property
    def buckets(self) -> int:
        """Rows of the embedding table."""
        return len(self.values) + RESERVED


class HashBuckets(Frozen):
    """Any string: xxh3_64 with `seed`, reduced to 2..`buckets` - 1; a missing one is 0; 1 stays unused."""

    kind: Literal["hash_buckets"] = "hash_buckets"
    buckets: Buckets
    seed: Seed = 0


class IntegerRange(Frozen):
    """Integers of `low`..`high` (both included): bucket 2 + value - low; any other is 1, a missing one 0.

    The range 0 to 1 takes booleans too.
    """

    kind: Literal["integer_range"] = "integer_range"
    low: Annotated[int, Field(ge=-INT64_MAX, le=INT64_MAX)]
    high: Annotated[int, Field(ge=-INT64_MAX, le=INT64_MAX)]

    @model_validator(mode="after")
    def _range_is_one(self) -> Self:
        if self.high < self.low:
            raise broken("high", self.high, f"at least low ({self.low})", "swap or correct low and high")
        if self.buckets > MAX_BUCKETS:
            raise broken("high", self.high, f"at most {MAX_BUCKETS} buckets in the range", "use hash_buckets")
        return self

    @property
    def buckets(self) -> int:
        """Rows of the embedding table."""
        return self.high - self.low + 1 + RESERVED

    @property
    def binary(self) -> bool:
        """Whether it is the range of a boolean."""
        return (self.low, self.high) == (0, 1)


Encoding = Annotated[Vocabulary | HashBuckets | IntegerRange, Field(discriminator="kind")]


class CategoricalFeature(Frozen):
    """One value of a set, as a bucket: 0 missing, 1 out of vocabulary or range, 2.. values."""

    name: Name
    source: Source
    encoding: Encoding
    description: Description = ""

    @property
    def buckets(self) -> int:
        """Rows that an embedding table for this feature needs, reserved ones included."""
        return self.encoding.buckets


class CaptionFeature(Frozen):
    """The caption's tokens: normalised, tokenized, truncated to `max_tokens`, de-duplicated or not, encoded.

    The columns of the tensor are `max_tokens` single tokens, then `max_tokens` - 1 pairs, and so on up to the encoder's
    `max_ngram`; each order is padded with 0 at its end. With `deduplicate` only the first occurrence of each token
    (of each n-gram, per order) is kept.
    """

    tokenizer_sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    max_tokens: Annotated[int, Field(ge=1, le=MAX_TOKENS)]
    deduplicate: bool = False
    encoder: Encoder
    normalization: Literal["nfkc-lower"] = "nfkc-lower"
    description: Description = ""

    @model_validator(mode="after")
    def _ngrams_fit(self) -> Self:
        if self.encoder.max_ngram > self.max_tokens:
            expected = f"at most max_tokens ({self.max_tokens})"
            raise broken("encoder.max_ngram", self.encoder.max_ngram, expected, "lower it or raise max_tokens")
        return self

    @property
    def parts(self) -> int:
        """k: bucket columns per position (1 identity and hash, k multihash, 2 qr)."""
        return self.encoder.parts

    @property
    def table_sizes(self) -> tuple[int, ...]:
        """Rows of each of the k embedding tables, reserved ones included."""
        return self.encoder.table_sizes

    @property
    def width(self) -> int:
        """T: positions of a row, over all n-gram orders."""
        return sum(self.max_tokens - order for order in range(self.encoder.max_ngram))
