"""Small synthetic data and a recipe for it."""

import hashlib
from dataclasses import dataclass

import numpy as np
import pytest

from training.data.splits import split
from training.data.synthetic import generate
from training.folds import word_ids
from training.recipe import parse_recipe

RECIPE = """
name: small
ranker: {architecture: dcn, embedding: {size: 4}, deep: [8], dropout: 0.1}
training: {batch_size: 256, epochs: 3, patience: 2, learning_rate: 0.01, threads: 1}
caption: {max_tokens: 16, buckets: 500}
hide:
  - {share: 0.2, features: [item_id, popularity]}
  - {share: 0.1, features: [user_id, activity]}
seeds: [1, 2]
splits: [{name: within_user, reference: true}, {name: new_items, folds: [0, 1], reference: true}]
bootstrap: {resamples: 200}
"""


@pytest.fixture(scope="session")
def recipe():
    return parse_recipe(RECIPE)


@pytest.fixture(scope="session")
def synthetic():
    return generate(seed=1, users=60, items=40, interactions=3000, lift=0.05)


@pytest.fixture(scope="session")
def within(synthetic):
    return split(synthetic.dataset, "within_user")


TOKENIZER = b'{"a tokenizer.json": "its digest is all that training needs"}'


@dataclass(frozen=True)
class Stamp:
    """What training asks of a tokenizer: its digest, and which tokens begin a word (here all of them)."""

    sha256: str = hashlib.sha256(TOKENIZER).hexdigest()

    def word_starts(self):
        return np.ones(1 << 16, dtype=np.bool_)


@pytest.fixture(scope="session")
def tokenizer():
    return Stamp()


@pytest.fixture(scope="session")
def captions(synthetic):
    """Token ids by item id; every tenth item has no caption."""
    tokens = word_ids({item: text.split() for item, text in synthetic.captions.items()})
    return {item: ids for number, (item, ids) in enumerate(sorted(tokens.items())) if number % 10}
