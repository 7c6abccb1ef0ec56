"""How fast captions become buckets, beside what a Python project would otherwise use. All on one core.

`measure()` runs every contender once per round, in turn, so that a slow moment of the machine meets all of them, and
gives the median and the range over the rounds. Time is the process's CPU time (every contender keeps to one thread), so
that other programs on the machine do not count. Nothing is asserted: `make bench` prints the rows.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from sklearn.feature_extraction import FeatureHasher
from sklearn.feature_extraction.text import HashingVectorizer
from tokenizers import Tokenizer, decoders, models, normalizers, trainers

from models.contract import (
    CaptionFeature,
    CaptionTokenizer,
    Contract,
    FeatureEncoder,
    HashEncoder,
    IdentityEncoder,
    MultiHashEncoder,
    QREncoder,
    TokenRows,
)

BUCKETS = 65_536
MAX_TOKENS = 64
Contender = Callable[[], object]


@dataclass(frozen=True, slots=True)
class Measurement:
    """One contender: things per second (median, lowest, highest round) and the ratio to the first of its group."""

    group: str
    name: str
    unit: str
    median: float
    low: float
    high: float
    ratio: float


@dataclass(frozen=True, slots=True)
class Corpus:
    """Captions of repeating words, their tokens, and the tokenizer as JSON."""

    captions: list[str]
    tokens: TokenRows
    tokenizer_json: bytes


def measure(captions: int = 20_000, rounds: int = 7, seed: int = 0) -> list[Measurement]:
    """Rates of hashing alone (tokens/s) and of captions to buckets end to end (captions/s), on a made corpus."""
    corpus = make_corpus(captions, seed)
    with one_core():
        hashing = run_in_turn(
            "tokens to buckets", "tokens/s", hashing_contenders(corpus), len(corpus.tokens.ids), rounds
        )
        whole = run_in_turn("captions to buckets", "captions/s", caption_contenders(corpus), captions, rounds)
    return hashing + whole


def make_corpus(captions: int, seed: int, words: int = 2_000) -> Corpus:
    """Captions of 20 to 25 words, drawn by a power law from `words` made ones, and a BPE trained on them."""
    random = np.random.default_rng(seed)
    syllables = ["".join(pair) for pair in zip("bdfgklmnprstvz" * 5, "aeiou" * 14, strict=True)]
    lengths = random.integers(1, 5, size=words)
    vocabulary = np.array(["".join(random.choice(syllables, size=length)) for length in lengths])
    weights = 1.0 / np.arange(1, words + 1)
    counts = random.integers(20, 26, size=captions)
    drawn = random.choice(vocabulary, size=int(counts.sum()), p=weights / weights.sum())
    texts = [" ".join(part).capitalize() for part in np.split(drawn, np.cumsum(counts)[:-1])]
    data = train_tokenizer(texts)
    return Corpus(texts, CaptionTokenizer.from_bytes(data).encode_rows(texts), data)


def train_tokenizer(texts: list[str]) -> bytes:
    """A LLaMA-style `tokenizer.json` (BPE, byte fallback, ▁ before every word) of at most 2,500 entries."""
    tokenizer = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Fuse()])
    special = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    trainer = trainers.BpeTrainer(vocab_size=2_500, special_tokens=special, show_progress=False)
    words = sorted({word for text in texts for word in text.lower().split()})
    tokenizer.train_from_iterator(words, trainer)
    return tokenizer.to_str().encode("utf-8")


def hashing_contenders(corpus: Corpus) -> dict[str, Contender]:
    """Each encoder over tokens that are ready."""
    size = CaptionTokenizer.from_bytes(corpus.tokenizer_json).vocabulary_size
    encoders: dict[str, Any] = {
        "hash": HashEncoder(buckets=BUCKETS),
        "hash, n-grams to 2": HashEncoder(buckets=BUCKETS, max_ngram=2),
        "multihash, k = 2": MultiHashEncoder(buckets=BUCKETS, seeds=(0, 1)),
        "qr": QREncoder(vocabulary_size=size, divisor=64),
        "identity": IdentityEncoder(vocabulary_size=size),
    }
    made = {name: _encoder(encoder) for name, encoder in encoders.items()}
    made["hash, de-duplicated"] = _encoder(encoders["hash"], deduplicate=True)
    return {name: partial(encoder.caption, corpus.tokens) for name, encoder in made.items()}


def caption_contenders(corpus: Corpus) -> dict[str, Contender]:
    """Text to buckets by the contract, warm and cold, and what else there is."""
    texts = corpus.captions
    encoder = _encoder(HashEncoder(buckets=BUCKETS))
    warm = CaptionTokenizer.from_bytes(corpus.tokenizer_json)
    library = Tokenizer.from_str(corpus.tokenizer_json.decode("utf-8"))
    vectorizer = HashingVectorizer(n_features=BUCKETS, norm=None, alternate_sign=False)
    hasher = FeatureHasher(n_features=BUCKETS, input_type="string", alternate_sign=False)

    def cold() -> object:
        return encoder.caption(CaptionTokenizer.from_bytes(corpus.tokenizer_json).encode_rows(texts))

    return {
        "tokenizers library, ids only": lambda: library.encode_batch_fast(texts, add_special_tokens=False),
        "Sightline, word cache warm": lambda: encoder.caption(warm.encode_rows(texts)),
        "Sightline, from an empty cache": cold,
        "scikit-learn HashingVectorizer": lambda: vectorizer.transform(texts),
        "scikit-learn FeatureHasher": lambda: hasher.transform(text.lower().split() for text in texts),
    }


def run_in_turn(
    group: str, unit: str, contenders: Mapping[str, Contender], size: int, rounds: int
) -> list[Measurement]:
    """Time every contender once per round; the ratio is to the first one's median. One round before does not count."""
    rates: dict[str, list[float]] = {name: [] for name in contenders}
    for number in range(rounds + 1):
        for name, contender in contenders.items():
            started = time.process_time()
            contender()
            if number > 0:
                rates[name].append(size / (time.process_time() - started))
    base = statistics.median(next(iter(rates.values())))
    return [_row(group, name, unit, values, base) for name, values in rates.items()]


def _row(group: str, name: str, unit: str, rates: list[float], base: float) -> Measurement:
    median = statistics.median(rates)
    return Measurement(group, name, unit, median, min(rates), max(rates), median / base)


def _encoder(encoder: Any, deduplicate: bool = False) -> FeatureEncoder:
    feature = CaptionFeature(tokenizer_sha256="0" * 64, max_tokens=MAX_TOKENS, deduplicate=deduplicate, encoder=encoder)
    return FeatureEncoder(Contract(name="bench", version=1, caption=feature))


@contextmanager
def one_core() -> Iterator[None]:
    """Keep the tokenizers library to one thread meanwhile."""
    before = os.environ.get("TOKENIZERS_PARALLELISM")
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    try:
        yield
    finally:
        if before is None:
            del os.environ["TOKENIZERS_PARALLELISM"]
        else:
            os.environ["TOKENIZERS_PARALLELISM"] = before
