"""The hashes, against published vectors and an independent formula."""

import numpy as np
import pytest
import xxhash
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from models.contract.hashing import extend_hashes, reduce_to_range, splitmix64, string_hashes, token_hashes

MASK = 2**64 - 1
GAMMA = 0x9E3779B97F4A7C15
uint64 = st.integers(0, MASK)


def splitmix_in_python(value: int) -> int:
    z = (value + GAMMA) & MASK
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
    return z ^ (z >> 31)


def test_splitmix64_gives_the_published_sequence_of_seed_1234567() -> None:
    states = np.array([(1234567 + i * GAMMA) & MASK for i in range(5)], dtype=np.uint64)
    published = [
        6457827717110365317,
        3203168211198807973,
        9817491932198370423,
        4593380528125082431,
        16408922859458223821,
    ]
    assert splitmix64(states).tolist() == published


def test_splitmix64_of_zero_is_the_published_first_output() -> None:
    assert int(splitmix64(np.zeros(1, np.uint64))[0]) == 0xE220A8397B1DCDAF


@pytest.mark.parametrize(
    ("data", "seed", "published"),
    [
        (b"", 0, 0x2D06800538D394C2),
        (b"", 0x9E3779B185EBCA8D, 0xA8A6B918B2F0364A),
        (b"\x00", 0, 0xC44BDFF4074EECDB),
        (b"\x00", 0x9E3779B185EBCA8D, 0x032BE332DD766EF8),
    ],
)
def test_xxh3_gives_the_values_of_its_own_sanity_check(data: bytes, seed: int, published: int) -> None:
    assert string_hashes([data.decode()], seed).tolist() == [published]


@given(st.lists(uint64, max_size=50))
def test_splitmix64_equals_the_formula_in_exact_integers(values: list[int]) -> None:
    array = np.array(values, dtype=np.uint64)
    assert splitmix64(array).tolist() == [splitmix_in_python(value) for value in values]
    assert array.tolist() == values


@given(st.lists(uint64, min_size=1, max_size=50), st.integers(1, 2**31))
def test_reduction_is_the_exact_high_half_of_the_product(values: list[int], size: int) -> None:
    reduced = reduce_to_range(np.array(values, dtype=np.uint64), size)
    assert reduced.tolist() == [(value * size) >> 64 for value in values]
    assert reduced.dtype == np.int64


@given(st.integers(0, 2**31 - 1), st.integers(0, 2**31 - 1), uint64)
def test_ngram_hashes_follow_the_documented_chain(first: int, second: int, seed: int) -> None:
    single = token_hashes(np.array([first], dtype=np.int32), seed)
    pair = extend_hashes(single, np.array([second], dtype=np.int32))
    expected = splitmix_in_python(splitmix_in_python(seed) ^ first)
    assert int(single[0]) == expected
    assert int(pair[0]) == splitmix_in_python(expected ^ second)


@given(st.lists(st.text(st.characters()), max_size=20), uint64)
def test_strings_are_hashed_as_utf8_with_lone_surrogates_kept_apart(values: list[str], seed: int) -> None:
    expected = [xxhash.xxh3_64(value.encode("utf-8", "surrogatepass"), seed).intdigest() for value in values]
    assert string_hashes(values, seed).tolist() == expected


@pytest.mark.parametrize("size", [3, 97, 1000, 1024])
def test_small_token_ids_fill_the_buckets_evenly(size: int) -> None:
    buckets = reduce_to_range(token_hashes(np.arange(200 * size, dtype=np.int32), seed=0), size)
    counts = np.bincount(buckets, minlength=size)
    assert stats.chisquare(counts).pvalue > 1e-4


def test_neighbouring_seeds_are_unrelated() -> None:
    ids = np.arange(50_000, dtype=np.int32)
    same = reduce_to_range(token_hashes(ids, 0), 100) == reduce_to_range(token_hashes(ids, 1), 100)
    assert abs(same.mean() - 0.01) < 0.003
