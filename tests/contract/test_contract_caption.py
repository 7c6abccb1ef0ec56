"""Tokens to buckets, against a row-by-row reference in plain Python integers."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.contract import (
    CaptionFeature,
    Contract,
    FeatureEncoder,
    FeatureValueError,
    HashEncoder,
    IdentityEncoder,
    MultiHashEncoder,
    QREncoder,
    TokenRows,
)
from models.contract.caption import TABLE_LIMIT, first_occurrences

MASK = 2**64 - 1
VOCABULARY = 50
ENCODERS = [
    IdentityEncoder(vocabulary_size=VOCABULARY),
    HashEncoder(buckets=23, seed=9),
    HashEncoder(buckets=3, seed=2**64 - 1, max_ngram=3),
    HashEncoder(buckets=2**31 - 1, max_ngram=2),
    MultiHashEncoder(buckets=17, seeds=(0, 1, 2)),
    QREncoder(vocabulary_size=VOCABULARY, divisor=7),
]
captions = st.lists(st.one_of(st.none(), st.lists(st.integers(0, VOCABULARY - 1), max_size=9)), max_size=12)


def splitmix(value: int) -> int:
    z = (value + 0x9E3779B97F4A7C15) & MASK
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
    return z ^ (z >> 31)


def bucket_of(gram: tuple[int, ...], seed: int, buckets: int) -> int:
    state = splitmix(seed)
    for token in gram:
        state = splitmix(state ^ token)
    return 2 + ((state * (buckets - 2)) >> 64)


def values_of(encoder: object, gram: tuple[int, ...]) -> tuple[int, ...]:
    match encoder:
        case IdentityEncoder():
            return (gram[0] + 2,)
        case HashEncoder():
            return (bucket_of(gram, encoder.seed, encoder.buckets),)
        case MultiHashEncoder():
            return tuple(bucket_of(gram, seed, encoder.buckets) for seed in encoder.seeds)
        case QREncoder():
            return (gram[0] // encoder.divisor + 2, gram[0] % encoder.divisor + 2)
    raise AssertionError(encoder)


def reference_row(feature: CaptionFeature, tokens: list[int] | None) -> list[tuple[int, ...]]:
    kept, row = (tokens or [])[: feature.max_tokens], []
    for order in range(1, feature.encoder.max_ngram + 1):
        grams = [tuple(kept[i : i + order]) for i in range(len(kept) - order + 1)]
        grams = list(dict.fromkeys(grams)) if feature.deduplicate else grams
        padding = [(0,) * feature.parts] * (feature.max_tokens - order + 1 - len(grams))
        row += [values_of(feature.encoder, gram) for gram in grams] + padding
    if not kept:
        row[0] = (1,) * feature.parts
    return row


def encoder_of(encoder: object, max_tokens: int, deduplicate: bool) -> FeatureEncoder:
    caption = CaptionFeature(tokenizer_sha256="0" * 64, max_tokens=max_tokens, deduplicate=deduplicate, encoder=encoder)
    return FeatureEncoder(Contract(name="c", version=1, caption=caption))


def arrays(rows: list[list[int] | None]) -> list[np.ndarray | None]:
    return [None if row is None else np.array(row, dtype=np.int32) for row in rows]


@pytest.mark.parametrize("encoder", ENCODERS, ids=lambda e: f"{e.kind}{e.max_ngram}")
@given(rows=captions, max_tokens=st.integers(3, 8), deduplicate=st.booleans())
def test_every_encoder_equals_the_row_by_row_reference(
    encoder: object, rows: list[list[int] | None], max_tokens: int, deduplicate: bool
) -> None:
    features = encoder_of(encoder, max_tokens, deduplicate)
    feature = features.contract.caption
    encoded = features.caption(arrays(rows))
    expected = np.array([reference_row(feature, row) for row in rows], dtype=np.int64)
    expected = expected.reshape(len(rows), feature.width, feature.parts)
    assert encoded.dtype == np.int64
    assert encoded.flags.c_contiguous
    np.testing.assert_array_equal(encoded, expected[:, :, 0] if feature.parts == 1 else expected)


@pytest.mark.parametrize("encoder", ENCODERS, ids=lambda e: f"{e.kind}{e.max_ngram}")
@pytest.mark.parametrize("deduplicate", [False, True])
def test_a_large_corpus_of_many_blocks_equals_its_rows_one_by_one(encoder: object, deduplicate: bool) -> None:
    random = np.random.default_rng(3)
    features = encoder_of(encoder, 40, deduplicate)
    rows = [random.integers(0, VOCABULARY, random.integers(0, 60)).astype(np.int32) for _ in range(3_000)]
    whole = features.caption(rows)
    for number in range(0, 3_000, 97):
        np.testing.assert_array_equal(whole[number], features.caption([rows[number]])[0])


@pytest.mark.parametrize("encoder", ENCODERS, ids=lambda e: f"{e.kind}{e.max_ngram}")
@given(rows=st.lists(st.lists(st.integers(0, VOCABULARY - 1), min_size=1, max_size=9), min_size=1, max_size=12))
def test_real_tokens_never_take_a_reserved_bucket_nor_leave_the_tables(encoder: object, rows: list[list[int]]) -> None:
    features = encoder_of(encoder, 9, False)
    feature = features.contract.caption
    encoded = features.caption(arrays(rows)).reshape(len(rows), feature.width, feature.parts)
    for part, size in enumerate(feature.table_sizes):
        filled = encoded[:, :, part]
        assert not (filled == 1).any()
        assert (filled >= 0).all()
        assert (filled < size).all()
        lengths = np.array([len(row) for row in rows])
        assert ((filled[:, :9] > 1) == (np.arange(9) < lengths[:, None])).all()


@pytest.mark.parametrize("encoder", ENCODERS, ids=lambda e: f"{e.kind}{e.max_ngram}")
def test_none_and_empty_give_the_no_caption_row(encoder: object) -> None:
    encoded = encoder_of(encoder, 4, True).caption([None, np.empty(0, np.int32)])
    assert encoded.shape[0] == 2
    assert (encoded[:, 0] == 1).all()
    assert (encoded[:, 1:] == 0).all()


def test_token_ids_beyond_the_lookup_table_are_hashed_the_same_way() -> None:
    features = encoder_of(HashEncoder(buckets=1000, seed=3), 2, False)
    big = [TABLE_LIMIT - 1, TABLE_LIMIT, 2**31 - 1]
    alone = [features.caption([np.array([token])])[0, 0] for token in big]
    assert alone == [bucket_of((token,), 3, 1000) for token in big]


def test_the_pair_of_quotient_and_remainder_is_unique() -> None:
    features = encoder_of(QREncoder(vocabulary_size=VOCABULARY, divisor=7), VOCABULARY, False)
    pairs = features.caption([np.arange(VOCABULARY)])[0]
    assert len({tuple(pair) for pair in pairs.tolist()}) == VOCABULARY


@pytest.mark.parametrize("encoder", [ENCODERS[0], ENCODERS[5]], ids=["identity", "qr"])
def test_a_token_outside_the_vocabulary_is_refused_by_row_and_value(encoder: object) -> None:
    with pytest.raises(FeatureValueError, match=r"caption, row 2: is 50; expected token ids in \[0, 50\); use tokens"):
        encoder_of(encoder, 4, False).caption([np.array([49]), None, np.array([1, 50])])


@pytest.mark.parametrize(
    "wrong",
    [np.array([1.0]), np.array([[1]]), np.array([-1]), np.array([2**31]), [1, 2], np.array([True])],
    ids=["float", "matrix", "negative", "too large", "list", "bool"],
)
def test_what_is_no_flat_array_of_token_ids_is_refused(wrong: object) -> None:
    with pytest.raises(FeatureValueError, match="caption, row 1: is"):
        encoder_of(HashEncoder(buckets=9), 4, False).caption([np.array([1]), wrong])


def test_flat_token_rows_encode_like_a_list_of_arrays() -> None:
    rows = arrays([[1, 2, 3], [], None, [4]])
    features = encoder_of(HashEncoder(buckets=99, max_ngram=2), 4, False)
    np.testing.assert_array_equal(features.caption(TokenRows.of(rows)), features.caption(rows))


@given(st.lists(st.lists(st.integers(0, 6), max_size=10), max_size=10))
def test_first_occurrences_are_those_of_each_row(rows: list[list[int]]) -> None:
    keys = np.array([key for row in rows for key in row], dtype=np.uint64)
    lengths = np.array([len(row) for row in rows], dtype=np.int64)
    expected = [key not in row[:place] for row in rows for place, key in enumerate(row)]
    assert first_occurrences(keys, lengths).tolist() == expected
