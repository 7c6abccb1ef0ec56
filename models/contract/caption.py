"""Token ids to buckets, for whole corpora at once: no Python loop over rows."""

from __future__ import annotations

from collections.abc import Iterator
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
from models.contract.hashing import extend_hashes, reduce_to_range, splitmix64, token_hashes
from models.contract.reserved import FIRST_VALUE, NO_CAPTION, PADDING, RESERVED
from models.contract.tokens import TokenRows

AnyEncoder = IdentityEncoder | HashEncoder | MultiHashEncoder | QREncoder
Ids = npt.NDArray[np.int32]
Keys = npt.NDArray[np.uint64]
Bools = npt.NDArray[np.bool_]
Int64s = npt.NDArray[np.int64]
Parts = tuple[Int64s, ...]

BLOCK_CELLS = 32_768  # positions of a block; its temporaries stay in the processor's cache
ROW_SPREAD = np.uint64(0x9E3779B97F4A7C15)  # odd, with high bits that token ids do not reach
TABLE_LIMIT = 2**18  # token ids below it are encoded by a table lookup


def token_buckets(encoder: AnyEncoder, ids: Ids) -> Parts:
    """Buckets of single tokens: k arrays int64 [n] of int32 [n]."""
    match encoder:
        case IdentityEncoder():
            return (ids.astype(np.int64) + FIRST_VALUE,)
        case HashEncoder():
            return (hash_buckets(token_hashes(ids, encoder.seed), encoder.buckets),)
        case MultiHashEncoder():
            return tuple(hash_buckets(token_hashes(ids, seed), encoder.buckets) for seed in encoder.seeds)
        case QREncoder():
            quotient, remainder = np.divmod(ids.astype(np.int64), encoder.divisor)
            return (quotient + FIRST_VALUE, remainder + FIRST_VALUE)
        case _:
            assert_never(encoder)


def hash_buckets(hashes: Keys, buckets: int) -> Int64s:
    """64-bit hashes reduced to the buckets 2..buckets - 1; int64, same shape."""
    reduced = reduce_to_range(hashes, buckets - RESERVED)
    reduced += FIRST_VALUE
    return reduced


def ngram_hashes(encoder: HashEncoder, ids: Ids, lengths: Int64s) -> Iterator[tuple[Keys, Int64s]]:
    """For each order 1..max_ngram: the flat hashes of all n-grams (uint64), and how many each row has (int64)."""
    hashes = token_hashes(ids, encoder.seed)
    yield hashes, lengths
    inside, ends = np.ones(len(ids), dtype=np.bool_), np.cumsum(lengths)
    for order in range(2, encoder.max_ngram + 1):
        inside[ends[lengths >= order - 1] - (order - 1)] = False  # no n-gram begins so late in its row
        hashes = extend_hashes(hashes[:-1], ids[order - 1 :])
        yield hashes[inside[: len(hashes)]], np.maximum(lengths - (order - 1), 0)


class CaptionEncoder:
    """Encodes the token ids of captions as one contract's caption feature says."""

    def __init__(self, feature: CaptionFeature) -> None:
        self._feature = feature
        self._encoder = feature.encoder
        bounded = isinstance(feature.encoder, IdentityEncoder | QREncoder)
        self._limit = feature.encoder.vocabulary_size if bounded else MAX_TOKEN_ID + 1  # type: ignore[union-attr]
        self._tables: Parts = (np.empty(0, dtype=np.int64),) * feature.parts

    def encode(self, tokens: TokenRows) -> Int64s:
        """int64 [rows, T] (k = 1) or [rows, T, k]; C-contiguous.

        Raises `FeatureValueError` for an id that the encoder's vocabulary does not have.
        """
        tokens.check(self._limit)
        feature = self._feature
        out = np.full((len(tokens), feature.width, feature.parts), PADDING, dtype=np.int64)
        step = max(1, BLOCK_CELLS // feature.max_tokens)
        for start in range(0, len(tokens), step):
            block = slice(start, min(start + step, len(tokens)))
            self._encode_block(tokens, block, out[block])
        return out[:, :, 0] if feature.parts == 1 else out

    def _encode_block(self, tokens: TokenRows, block: slice, out: Int64s) -> None:
        ids, lengths = truncated(tokens, block, self._feature.max_tokens)
        out[lengths == 0, 0, :] = NO_CAPTION
        if isinstance(self._encoder, HashEncoder) and self._encoder.max_ngram > 1:
            self._encode_ngrams(self._encoder, ids, lengths, out)
        else:
            self._place(self._lookup(ids), ids, lengths, out)

    def _encode_ngrams(self, encoder: HashEncoder, ids: Ids, lengths: Int64s, out: Int64s) -> None:
        """Each order in its own columns: max_tokens single tokens, max_tokens - 1 pairs, and so on."""
        column, width = 0, self._feature.max_tokens
        for hashes, lengths_of_order in ngram_hashes(encoder, ids, lengths):
            columns = out[:, column : column + width]
            self._place((hash_buckets(hashes, encoder.buckets),), hashes, lengths_of_order, columns)
            column, width = column + width, width - 1

    def _place(self, parts: Parts, keys: Keys | Ids, lengths: Int64s, out: Int64s) -> None:
        """Put the flat buckets of each part [n], rows of the given lengths, at the rows' beginnings."""
        if self._feature.deduplicate:
            first = first_occurrences(keys.astype(np.uint64), lengths)
            parts, lengths = tuple(part[first] for part in parts), _counts(first, lengths)
        longest = int(lengths.max(initial=0))
        filled = np.arange(longest, dtype=np.int16) < lengths.astype(np.int16)[:, None]
        for number, part in enumerate(parts):
            out[:, :longest, number][filled] = part

    def _lookup(self, ids: Ids) -> Parts:
        """Buckets of single tokens, per part: every id is hashed once, then only looked up."""
        needed = int(ids.max(initial=-1)) + 1
        if needed > TABLE_LIMIT:
            return token_buckets(self._encoder, ids)
        tables = self._tables
        if needed > len(tables[0]):
            size = min(1 << (needed - 1).bit_length(), TABLE_LIMIT)
            tables = token_buckets(self._encoder, np.arange(size, dtype=np.int32))
            self._tables = tables  # swapped in whole, so threads may share the encoder
        indices = ids.astype(np.int64)
        return tuple(table.take(indices) for table in tables)


def truncated(tokens: TokenRows, block: slice, max_tokens: int) -> tuple[Ids, Int64s]:
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
    """Which of the flat keys are the first of their value in their row; rows have the given lengths.

    All write their position into a hashed slot, last to first, so that the first of all that share a slot stays in it.
    Who finds its own value there is decided; the others try again with another hash.
    """
    rows = np.repeat(np.arange(len(lengths), dtype=np.uint64), lengths)
    shift = np.uint64(64 - max(4, (4 * len(keys)).bit_length()))
    slots = np.empty(1 << int(64 - shift), dtype=np.int64)
    first = np.zeros(len(keys), dtype=np.bool_)
    hashes, open_positions = splitmix64(keys ^ (rows * ROW_SPREAD)), np.arange(len(keys))
    while len(open_positions):
        places = (hashes >> shift).view(np.int64)
        slots[places[::-1]] = open_positions[::-1]
        winners = slots.take(places)
        first[winners] = True
        apart = (keys[winners] != keys[open_positions]) | (rows[winners] != rows[open_positions])
        hashes, open_positions = splitmix64(hashes[apart]), open_positions[apart]
    return first


def _counts(kept: Bools, lengths: Int64s) -> Int64s:
    """How many are kept in each row."""
    total = np.concatenate(([0], np.cumsum(kept)))
    ends = np.cumsum(lengths)
    counts: Int64s = total[ends] - total[ends - lengths]
    return counts
