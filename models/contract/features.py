"""The features of a contract: dense numbers, categorical values, the caption."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

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


class DenseFeature(Frozen):
    """One number: float32((transform(value) - mean) / std), computed in float64. A missing value becomes `default`.

    `default` is a raw value: it is transformed and scaled like any other.
    """

    name: Name
    source: Source
    default: float
    mean: float = 0.0
    std: Annotated[float, Field(gt=0.0)] = 1.0
    transform: Literal["identity", "log1p"] = "identity"
    description: Description = ""

    @model_validator(mode="after")
    def _default_has_a_logarithm(self) -> Self:
        if self.transform == "log1p" and self.default <= -1.0:
            raise broken("default", self.default, "a number above -1 for log1p", "change the default or the transform")
        return self


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
    """Integers of `low`..`high` (both included): bucket 2 + value - low; any other is 1, a missing one 0."""

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
