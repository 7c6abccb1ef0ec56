"""A LLaMA-style tokenizer trained here, and one contract with every kind of feature."""

from __future__ import annotations

import json

import pytest
from hypothesis import HealthCheck, settings
from tokenizers import Tokenizer, decoders, models, normalizers, trainers

from models.contract import (
    CaptionFeature,
    CaptionTokenizer,
    CategoricalFeature,
    Contract,
    DenseFeature,
    HashBuckets,
    HashEncoder,
    IntegerRange,
    Vocabulary,
)

settings.register_profile(
    "contract", max_examples=60, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("contract")

SENTENCES = [
    "a red car on a wet street at night",
    "two small dogs play in the snow",
    "three green bottles and a yellow banana on a wooden table",
    "the quick brown fox jumps over the lazy dog",
    "an old sailing ship at sea under a cloudy sky, painted in oil",
    "naïve café über straße",
]


@pytest.fixture(scope="session")
def tokenizer_json() -> bytes:
    """BPE with byte fallback, Prepend and Replace, special tokens: the shape of LLaMA's own file."""
    tokenizer = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Fuse()])
    special = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    trainer = trainers.BpeTrainer(vocab_size=420, special_tokens=special, show_progress=False)
    tokenizer.train_from_iterator(sorted({word for line in SENTENCES for word in line.split()}), trainer)
    tokenizer.add_special_tokens(["<image>"])
    return tokenizer.to_str().encode("utf-8")


@pytest.fixture(scope="session")
def library(tokenizer_json: bytes) -> Tokenizer:
    """The tokenizers library itself, told to read special tokens as text."""
    tokenizer = Tokenizer.from_str(tokenizer_json.decode("utf-8"))
    tokenizer.encode_special_tokens = True
    return tokenizer


@pytest.fixture(scope="session")
def tokenizer(tokenizer_json: bytes) -> CaptionTokenizer:
    return CaptionTokenizer.from_bytes(tokenizer_json)


@pytest.fixture(scope="session")
def contract(tokenizer: CaptionTokenizer) -> Contract:
    """Features of every kind and source, in mixed order."""
    return Contract(
        name="films",
        version=3,
        description="for tests",
        dense=[
            DenseFeature(name="popularity", source="item", default=0.0, transform="log1p", mean=2.0, std=1.5),
            DenseFeature(name="age", source="user", default=30.0, mean=33.0, std=11.0, description="in years"),
            DenseFeature(name="minutes", source="context", default=0.5),
        ],
        categorical=[
            CategoricalFeature(name="item_id", source="item", encoding=HashBuckets(buckets=101, seed=7)),
            CategoricalFeature(name="gender", source="user", encoding=Vocabulary(values=("M", "F", ""))),
            CategoricalFeature(name="hour", source="context", encoding=IntegerRange(low=0, high=23)),
            CategoricalFeature(name="user_id", source="user", encoding=HashBuckets(buckets=50, seed=8)),
        ],
        caption=CaptionFeature(
            tokenizer_sha256=tokenizer.sha256,
            max_tokens=6,
            deduplicate=True,
            encoder=HashEncoder(buckets=97, seed=5, max_ngram=2),
        ),
    )


@pytest.fixture
def document(contract: Contract) -> dict[str, object]:
    """The contract as a document without digest, to be spoilt."""
    loaded: dict[str, object] = json.loads(contract.to_json())
    del loaded["digest"]
    return loaded
