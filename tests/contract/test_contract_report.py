"""Collisions and load: exact on small corpora, near the expectation on large ones."""

import numpy as np
import pytest

from models.contract import (
    CaptionFeature,
    HashBuckets,
    HashEncoder,
    IdentityEncoder,
    MultiHashEncoder,
    QREncoder,
    caption_report,
    strings_report,
)

TOKENS = [np.array([1, 2, 3, 1], np.int32), None, np.array([3, 3], np.int32)]


def feature(encoder: object, max_tokens: int = 8) -> CaptionFeature:
    return CaptionFeature(tokenizer_sha256="0" * 64, max_tokens=max_tokens, encoder=encoder)


@pytest.mark.parametrize("encoder", [IdentityEncoder(vocabulary_size=9), QREncoder(vocabulary_size=9, divisor=3)])
def test_exact_encoders_never_collide(encoder: object) -> None:
    report = caption_report(feature(encoder), TOKENS)
    assert (report.occurrences, report.distinct) == (6, 3)
    assert (report.collision_rate, report.collision_rate_expected, report.occurrences_affected) == (0.0, 0.0, 0.0)


def test_loads_count_buckets_values_and_occurrences() -> None:
    report = caption_report(feature(QREncoder(vocabulary_size=9, divisor=3)), TOKENS)
    quotients, remainders = report.tables
    assert (quotients.buckets, quotients.used, quotients.most_values) == (3, 2, 2)
    assert (remainders.buckets, remainders.used, remainders.most_values) == (3, 3, 1)
    assert quotients.load == pytest.approx(2 / 3)
    assert remainders.heaviest_share == pytest.approx(0.5)


def test_a_single_bucket_confuses_everything() -> None:
    report = caption_report(feature(HashEncoder(buckets=3)), TOKENS)
    assert (report.collision_rate, report.collision_rate_expected, report.occurrences_affected) == (1.0, 1.0, 1.0)
    assert report.tables[0].used_expected == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("encoder", "cells"),
    [
        (HashEncoder(buckets=4_098), 4_096),
        (HashEncoder(buckets=40_002, seed=3), 40_000),
        (MultiHashEncoder(buckets=66, seeds=(1, 2)), 64**2),
    ],
)
def test_measured_rates_are_near_those_of_chance(encoder: object, cells: int) -> None:
    count = 4_000
    report = caption_report(feature(encoder, 4_000), [np.arange(count, dtype=np.int32)])
    expected = 1 - (1 - 1 / cells) ** (count - 1)
    assert report.collision_rate_expected == pytest.approx(expected)
    assert report.collision_rate == pytest.approx(expected, abs=0.03)
    for table in report.tables:
        assert table.used == pytest.approx(table.used_expected, rel=0.02)


def test_ngrams_of_every_order_are_counted_within_rows() -> None:
    report = caption_report(feature(HashEncoder(buckets=2**30, max_ngram=2)), TOKENS)
    assert (report.occurrences, report.distinct) == (6 + 4, 3 + 4)


def test_what_is_cut_off_is_not_counted() -> None:
    report = caption_report(feature(HashEncoder(buckets=99), max_tokens=2), TOKENS)
    assert (report.occurrences, report.distinct) == (4, 3)


def test_strings_are_reported_alike() -> None:
    report = strings_report(HashBuckets(buckets=1_002), ["a", "b", "a", *map(str, range(2_000))])
    assert (report.occurrences, report.distinct) == (2_003, 2_002)
    assert report.collision_rate == pytest.approx(report.collision_rate_expected, abs=0.03)


def test_an_empty_corpus_reports_zeros() -> None:
    report = caption_report(feature(HashEncoder(buckets=9)), [None])
    assert (report.occurrences, report.distinct, report.collision_rate) == (0, 0, 0.0)
    assert (report.tables[0].used, report.tables[0].heaviest_share) == (0, 0.0)
