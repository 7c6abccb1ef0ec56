"""The page shows what the contract really encodes: the pieces and buckets of its own encoder, no others."""

import numpy as np
import pytest
from stack_contracts import caption_contract

from models.contract import FeatureEncoder, HashEncoder, IdentityEncoder, MultiHashEncoder
from serving.stack.encoded import Encoded, Piece, encoded

WORDS = ["a", "red", "house", "the", "on", "hill"]
TOKENS = np.array([0, 1, 2, 4, 0, 1, 5], dtype=np.int32)


def test_repeated_tokens_are_dropped_and_shown_as_dropped() -> None:
    encoder = FeatureEncoder(caption_contract(IdentityEncoder(vocabulary_size=6), max_tokens=6, deduplicate=True))
    found = encoded(encoder, TOKENS, WORDS.__getitem__)
    expected = [Piece("a", "2"), Piece("red", "3"), Piece("house", "4"), Piece("on", "6")]
    assert found == Encoded(expected, ["a", "red"], ["hill"])


@pytest.mark.parametrize("deduplicate", [True, False])
@pytest.mark.parametrize(
    "chosen",
    [HashEncoder(buckets=50, seed=3, max_ngram=3), MultiHashEncoder(buckets=30, seeds=(1, 2)), HashEncoder(buckets=9)],
    ids=["3-grams", "two hashes", "one hash"],
)
def test_the_buckets_shown_are_exactly_those_of_the_tensor(chosen, deduplicate: bool) -> None:  # type: ignore[no-untyped-def]
    encoder = FeatureEncoder(caption_contract(chosen, max_tokens=6, deduplicate=deduplicate))
    row = encoder.caption([TOKENS])[0].reshape(-1, chosen.parts)
    in_tensor = ["+".join(map(str, buckets)) for buckets in row if buckets.any()]
    found = encoded(encoder, TOKENS, WORDS.__getitem__)
    assert [piece.bucket for piece in found.pieces] == in_tensor
    assert bool(found.repeated) == deduplicate


def test_a_caption_without_tokens_shows_nothing() -> None:
    encoder = FeatureEncoder(caption_contract(HashEncoder(buckets=9), max_tokens=6, deduplicate=True))
    assert encoded(encoder, np.empty(0, dtype=np.int32), WORDS.__getitem__) == Encoded()
