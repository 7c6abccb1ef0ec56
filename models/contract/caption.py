"""Token ids to buckets, for whole corpora at once: no Python loop over rows."""

from __future__ import annotations

from typing import assert_never

import numpy as np
import numpy.typing as npt

from models.contract.encoders import (
    MAX_TOKEN_ID,
    HashEncoder,
    IdentityEncoder,
    MultiHashEncoder,
    QREncoder,
)
from models.contract.features import CaptionFeature
from models.contract.hashing import extend_hashes, reduce_to_range, token_hashes
from models.contract.reserved import FIRST_VALUE, NO_CAPTION, PADDING, RESERVED
from models.contract.tokens import TokenRows

AnyEncoder = IdentityEncoder | HashEncoder | MultiHashEncoder | QREncoder
Ids = npt.NDArray[np.int32]
Keys = npt.NDArray[np.uint64]
Bools = npt.NDArray[np.bool_]
Int64s = npt.NDArray[np.int64]

BLOCK_TOKENS = 16_384  # temporaries of a block stay in the second-level cache
TABLE_LIMIT = 2**18  # token ids below it are encoded by a table lookup


def token_buckets(encoder: AnyEncoder, ids: Ids) -> Int64s:
    """Buckets of single tokens: int64 [n, k] of int32 [n]."""
    match encoder:
        case IdentityEncoder():
            return (ids.astype(np.int64) + FIRST_VALUE)[:, None]
        case HashEncoder():
            return hash_buckets(token_hashes(ids, encoder.seed), encoder.buckets)[:, None]
        case MultiHashEncoder():
            columns = [hash_buckets(token_hashes(ids, seed), encoder.buckets) for seed in encoder.seeds]
            return np.stack(columns, axis=1)
        case QREncoder():
            quotient, remainder = np.divmod(ids.astype(np.int64), encoder.divisor)
            pairs: Int64s = np.stack([quotient, remainder], axis=1) + FIRST_VALUE
            return pairs
        case _:
            assert_never(encoder)


def hash_buckets(hashes: Keys, buckets: int) -> Int64s:
    """64-bit hashes reduced to the buckets 2..buckets - 1; int64, same shape."""
    reduced = reduce_to_range(hashes, buckets - RESERVED)
    reduced += FIRST_VALUE
    return reduced


class CaptionEncoder:
    """Encodes the token ids of captions as one contract's caption feature says."""

    def __init__(self, feature: CaptionFeature) -> None:
        self._feature = feature
        self._encoder = feature.encoder
        bounded = isinstance(feature.encoder, IdentityEncoder | QREncoder)
        self._limit = feature.encoder.vocabulary_size if bounded else MAX_TOKEN_ID + 1  # type: ignore[union-attr]
        self._table: Int64s = np.empty((0, feature.parts), dtype=np.int64)

    def encode(self, tokens: TokenRows) -> Int64s:
        """int64 [rows, T] (k = 1) or [rows, T, k]; C-contiguous.

        Raises `FeatureValueError` for an id that the encoder's vocabulary does not have.
        """
        tokens.check(self._limit)
        feature = self._feature
        out = np.full((len(tokens), feature.width, feature.parts), PADDING, dtype=np.int64)
        step = max(1, BLOCK_TOKENS // feature.max_tokens)
        for start in range(0, len(tokens), step):
            block = slice(start, min(start + step, len(tokens)))
            self._encode_block(tokens, block, out[block])
        return out[:, :, 0] if feature.parts == 1 else out

    def _encode_block(self, tokens: TokenRows, block: slice, out: Int64s) -> None:
        ids, lengths = _truncated(tokens, block, self._feature.max_tokens)
        out[lengths == 0, 0, :] = NO_CAPTION
        self._place(self._lookup(ids), ids.astype(np.uint64), lengths, 0, out)
        if isinstance(self._encoder, HashEncoder) and self._encoder.max_ngram > 1:
            self._encode_ngrams(self._encoder, ids, lengths, out)

    def _encode_ngrams(self, encoder: HashEncoder, ids: Ids, lengths: Int64s, out: Int64s) -> None:
        hashes, inside = token_hashes(ids, encoder.seed), np.ones(len(ids), dtype=np.bool_)
        first_column = self._feature.max_tokens
        ends = np.cumsum(lengths)
        for order in range(2, encoder.max_ngram + 1):
            inside[ends[lengths >= order - 1] - (order - 1)] = False  # no n-gram begins so late in its row
            hashes = extend_hashes(hashes[:-1], ids[order - 1 :])
            kept = hashes[inside[: len(hashes)]]
            buckets = hash_buckets(kept, encoder.buckets)[:, None]
            self._place(buckets, kept, np.maximum(lengths - (order - 1), 0), first_column, out)
            first_column += self._feature.max_tokens - (order - 1)

    def _place(self, buckets: Int64s, keys: Keys, lengths: Int64s, column: int, out: Int64s) -> None:
        """Put flat buckets [n, k], rows of the given lengths, into `out` from `column` on."""
        longest = int(lengths.max(initial=0))
        columns = np.arange(longest)
        if self._feature.deduplicate:
            first = first_occurrences(keys, lengths)
            buckets, lengths = buckets[first], _counts(first, lengths)
        out[:, column : column + longest][columns < lengths[:, None]] = buckets

    def _lookup(self, ids: Ids) -> Int64s:
        """Buckets of single tokens: every id is hashed once, then only looked up."""
        needed = int(ids.max(initial=-1)) + 1
        if needed > TABLE_LIMIT:
            return token_buckets(self._encoder, ids)
        table = self._table
        if needed > len(table):
            size = min(1 << (needed - 1).bit_length(), TABLE_LIMIT)
            table = token_buckets(self._encoder, np.arange(size, dtype=np.int32))
            self._table = table  # whole tables are swapped in, so threads may share the encoder
        return table.take(ids, axis=0)


def _truncated(tokens: TokenRows, block: slice, max_tokens: int) -> tuple[Ids, Int64s]:
    """Ids and lengths of a block's rows, each cut to `max_tokens`."""
    bounds = tokens.offsets[block.start : block.stop + 1]
    ids, lengths = tokens.ids[bounds[0] : bounds[-1]], np.diff(bounds)
    if int(lengths.max(initial=0)) > max_tokens:
        ids = ids[_positions(lengths) < max_tokens]
        lengths = np.minimum(lengths, max_tokens)
    return ids, lengths


def _positions(lengths: Int64s) -> Int64s:
    """0, 1, 2.. within each row, flat."""
    starts = np.cumsum(lengths) - lengths
    return np.arange(int(lengths.sum())) - np.repeat(starts, lengths)


def first_occurrences(keys: Keys, lengths: Int64s) -> Bools:
    """Which of the flat keys are the first of their value in their row; rows have the given lengths."""
    rows = np.repeat(np.arange(len(lengths)), lengths)
    order = np.lexsort((keys, rows))  # stable: equal keys of a row stay in their order
    sorted_keys, sorted_rows = keys[order], rows[order]
    first = np.ones(len(keys), dtype=np.bool_)
    first[order[1:]] = (sorted_keys[1:] != sorted_keys[:-1]) | (sorted_rows[1:] != sorted_rows[:-1])
    return first


def _counts(kept: Bools, lengths: Int64s) -> Int64s:
    """How many are kept in each row."""
    total = np.concatenate(([0], np.cumsum(kept)))
    ends = np.cumsum(lengths)
    counts: Int64s = total[ends] - total[ends - lengths]
    return counts
