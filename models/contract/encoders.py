"""The four ways from token ids to buckets, as data. The arithmetic is in `caption.py`.

`parts` is the number of bucket columns per position (k), `table_sizes` the rows of the k embedding tables,
reserved buckets included; `max_ngram` the longest n-gram (1 for all but `hash`).
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from models.contract.frozen import Frozen, broken
from models.contract.reserved import RESERVED

MAX_BUCKETS = 2**31 - 1  # a bucket fits in an int32, which embedding kernels use
MAX_TOKEN_ID = 2**31 - 1
MAX_SEED = 2**64 - 1

Seed = Annotated[int, Field(ge=0, le=MAX_SEED)]
Buckets = Annotated[int, Field(ge=RESERVED + 1, le=MAX_BUCKETS)]
VocabularySize = Annotated[int, Field(ge=1, le=MAX_BUCKETS - RESERVED)]


class IdentityEncoder(Frozen):
    """bucket = token id + 2: cannot collide. For a vocabulary of which every piece gets a row (LLaMA2: 32,000)."""

    kind: Literal["identity"] = "identity"
    vocabulary_size: VocabularySize

    @property
    def parts(self) -> int:
        """1."""
        return 1

    @property
    def max_ngram(self) -> int:
        """1."""
        return 1

    @property
    def table_sizes(self) -> tuple[int, ...]:
        """One table of `vocabulary_size` + 2 rows."""
        return (self.vocabulary_size + RESERVED,)


class HashEncoder(Frozen):
    """Token n-grams of order 1..`max_ngram`, hashed with `seed` to the buckets 2..`buckets` - 1."""

    kind: Literal["hash"] = "hash"
    buckets: Buckets
    seed: Seed = 0
    max_ngram: Annotated[int, Field(ge=1, le=8)] = 1

    @property
    def parts(self) -> int:
        """1."""
        return 1

    @property
    def table_sizes(self) -> tuple[int, ...]:
        """One table of `buckets` rows."""
        return (self.buckets,)


class MultiHashEncoder(Frozen):
    """One hash per seed of each token: two tokens are confused only where all k hashes collide."""

    kind: Literal["multihash"] = "multihash"
    buckets: Buckets
    seeds: Annotated[tuple[Seed, ...], Field(min_length=2, max_length=8, strict=False)]

    @model_validator(mode="after")
    def _seeds_differ(self) -> Self:
        if len(set(self.seeds)) != len(self.seeds):
            raise broken("seeds", self.seeds, "seeds that all differ", "replace the repeated seed")
        return self

    @property
    def parts(self) -> int:
        """k, the number of seeds."""
        return len(self.seeds)

    @property
    def max_ngram(self) -> int:
        """1."""
        return 1

    @property
    def table_sizes(self) -> tuple[int, ...]:
        """k tables of `buckets` rows."""
        return (self.buckets,) * len(self.seeds)


class QREncoder(Frozen):
    """(id // divisor + 2, id % divisor + 2): the pair is unique, two small tables in place of a large one.

    Shi et al., "Compositional Embeddings Using Complementary Partitions", KDD 2020.
    """

    kind: Literal["qr"] = "qr"
    vocabulary_size: VocabularySize
    divisor: Annotated[int, Field(ge=2, le=MAX_BUCKETS - RESERVED)]

    @model_validator(mode="after")
    def _divisor_divides(self) -> Self:
        if self.divisor >= self.vocabulary_size:
            expected = f"a divisor below vocabulary_size ({self.vocabulary_size})"
            fix = "take a number near the square root of vocabulary_size"
            raise broken("divisor", self.divisor, expected, fix)
        return self

    @property
    def parts(self) -> int:
        """2: quotient and remainder."""
        return 2

    @property
    def max_ngram(self) -> int:
        """1."""
        return 1

    @property
    def table_sizes(self) -> tuple[int, ...]:
        """Rows of the quotient's and of the remainder's table."""
        quotients = -(-self.vocabulary_size // self.divisor)
        return (quotients + RESERVED, self.divisor + RESERVED)


Encoder = Annotated[IdentityEncoder | HashEncoder | MultiHashEncoder | QREncoder, Field(discriminator="kind")]
