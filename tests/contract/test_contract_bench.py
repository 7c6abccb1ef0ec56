"""The benchmark runs and tells of every contender; how fast they are is not tested."""

import os

from models.contract import CaptionTokenizer
from training.bench.hashing import make_corpus, measure


def test_the_benchmark_measures_every_contender() -> None:
    before = dict(os.environ)
    rows = measure(captions=60, rounds=2)
    assert [row.unit for row in rows] == ["tokens/s"] * 6 + ["captions/s"] * 5
    assert all(0 < row.low <= row.median <= row.high for row in rows)
    assert rows[0].ratio == rows[6].ratio == 1.0
    assert dict(os.environ) == before


def test_the_made_corpus_is_the_promised_one() -> None:
    corpus = make_corpus(200, seed=1)
    assert {len(caption.split()) for caption in corpus.captions} == set(range(20, 26))
    assert len(corpus.tokens) == 200
    assert CaptionTokenizer.from_bytes(corpus.tokenizer_json).caches_words
    assert corpus.captions == make_corpus(200, seed=1).captions != make_corpus(200, seed=2).captions
