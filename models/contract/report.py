"""How often values are confused, and how buckets are filled: measured on a corpus, beside what chance predicts."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from models.contract.caption import AnyEncoder, hash_buckets, ngram_hashes, token_buckets, truncated
from models.contract.encode import Tokens
from models.contract.encoders import HashEncoder, IdentityEncoder, MultiHashEncoder, QREncoder
from models.contract.features import CaptionFeature, HashBuckets
from models.contract.hashing import string_hashes
from models.contract.reserved import RESERVED
from models.contract.tokens import TokenRows

Int64s = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class BucketLoad:
    """One table: its buckets for values, how many are used (and expected to be), values in the fullest one, and the
    largest share of all occurrences that one bucket takes."""

    buckets: int
    used: int
    used_expected: float
    most_values: int
    heaviest_share: float

    @property
    def load(self) -> float:
        """Share of the buckets in use."""
        return self.used / self.buckets


@dataclass(frozen=True, slots=True)
class CollisionReport:
    """What an encoder does to a corpus.

    `occurrences` and `distinct` count the encoded values (tokens; n-grams of every order for `hash`).
    `collision_rate` is the share of the distinct values that share their bucket (all k of them) with another value;
    `collision_rate_expected` the same for uniform hashing, 1 - (1 - 1/m)^(n - 1) for n values in m cells, and 0 where
    the encoder cannot collide; `occurrences_affected` the share of occurrences that are of such a value.
    """

    encoder: str
    occurrences: int
    distinct: int
    collision_rate: float
    collision_rate_expected: float
    occurrences_affected: float
    tables: tuple[BucketLoad, ...]


def caption_report(feature: CaptionFeature, tokens: Tokens, encoder: AnyEncoder | None = None) -> CollisionReport:
    """The report of the feature's encoder, or of another one in its place, over the tokens of a corpus.

    Tokens are cut to `max_tokens`; repetitions count whatever `deduplicate` says.
    """
    chosen = feature.encoder if encoder is None else encoder
    rows = tokens if isinstance(tokens, TokenRows) else TokenRows.of(tokens)
    ids, lengths = truncated(rows, slice(0, len(rows)), feature.max_tokens)
    if isinstance(chosen, HashEncoder) and chosen.max_ngram > 1:
        flat = np.concatenate([hashes for hashes, _ in ngram_hashes(chosen, ids, lengths)])
        values, counts = np.unique(flat, return_counts=True)
        parts: tuple[Int64s, ...] = (hash_buckets(values, chosen.buckets),)
    else:
        distinct, counts = np.unique(ids, return_counts=True)
        parts = token_buckets(chosen, distinct)
    return _report(chosen.kind, parts, chosen.table_sizes, counts, _cells(chosen))


def strings_report(encoding: HashBuckets, values: Iterable[str]) -> CollisionReport:
    """The same for the values of a categorical feature that is hashed."""
    counted = Counter(values)
    parts = (hash_buckets(string_hashes(counted, encoding.seed), encoding.buckets),)
    counts = np.fromiter(counted.values(), dtype=np.int64, count=len(counted))
    return _report(encoding.kind, parts, (encoding.buckets,), counts, float(encoding.buckets - RESERVED))


def _cells(encoder: AnyEncoder) -> float:
    """How many bucket tuples a value can fall on by chance; infinite where two values never meet."""
    match encoder:
        case HashEncoder():
            return float(encoder.buckets - RESERVED)
        case MultiHashEncoder():
            return float(encoder.buckets - RESERVED) ** encoder.parts
        case IdentityEncoder() | QREncoder():
            return math.inf


def _report(kind: str, parts: Sequence[Int64s], sizes: Sequence[int], counts: Int64s, cells: float) -> CollisionReport:
    distinct, occurrences = len(counts), int(counts.sum())
    shared = _shared(parts)
    return CollisionReport(
        encoder=kind,
        occurrences=occurrences,
        distinct=distinct,
        collision_rate=float(shared.mean()) if distinct else 0.0,
        collision_rate_expected=_met_by_chance(distinct, cells),
        occurrences_affected=float(counts[shared].sum() / occurrences) if occurrences else 0.0,
        tables=tuple(_load(part, size, counts) for part, size in zip(parts, sizes, strict=True)),
    )


def _shared(parts: Sequence[Int64s]) -> npt.NDArray[np.bool_]:
    """Which values have all their buckets in common with another."""
    _, inverse, sizes = np.unique(np.stack(parts, axis=1), axis=0, return_inverse=True, return_counts=True)
    return np.asarray(sizes[inverse.reshape(-1)] > 1)


def _met_by_chance(values: int, cells: float) -> float:
    """1 - (1 - 1/cells)^(values - 1), without losing digits where cells are many."""
    if values < 2 or math.isinf(cells):
        return 0.0
    return 1.0 if cells <= 1 else -math.expm1((values - 1) * math.log1p(-1.0 / cells))


def _load(part: Int64s, size: int, counts: Int64s) -> BucketLoad:
    cells = size - RESERVED
    expected = cells * _met_by_chance(len(part) + 1, float(cells))
    if not len(part):
        return BucketLoad(cells, 0, expected, 0, 0.0)
    _, inverse, values = np.unique(part, return_inverse=True, return_counts=True)
    weight = np.bincount(inverse.reshape(-1), weights=counts)
    return BucketLoad(cells, len(values), expected, int(values.max()), float(weight.max() / counts.sum()))
