"""What a contract makes of a caption, piece by piece: for people who look at a page, not on any request's path."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from models.contract import FeatureEncoder


@dataclass(frozen=True)
class Piece:
    """A token, or an n-gram of them, with its bucket (or its buckets, joined by +)."""

    text: str
    bucket: str


@dataclass(frozen=True)
class Encoded:
    """What the ranker is given of a caption, and what of it is not: repetitions, and what is beyond the last token."""

    pieces: Sequence[Piece] = ()
    repeated: Sequence[str] = ()
    cut: Sequence[str] = ()


def encoded(encoder: FeatureEncoder, tokens: npt.NDArray[np.int32], name: Callable[[int], str]) -> Encoded:
    """Take a caption apart as `FeatureEncoder.caption` encodes it; the buckets are those that it gives.

    Args:
        tokens: the caption's token ids, int32 [tokens], untruncated.
        name: a token's text.
    """
    feature = encoder.contract.caption
    assert feature is not None, "asked of a ranker with captions"
    if not len(tokens):
        return Encoded()
    row = encoder.caption([tokens])[0]
    used, cut = tokens[: feature.max_tokens].tolist(), tokens[feature.max_tokens :].tolist()
    pieces: list[Piece] = []
    repeated: list[str] = []
    column = 0
    for order in range(1, feature.encoder.max_ngram + 1):
        grams = [tuple(used[at : at + order]) for at in range(len(used) - order + 1)]
        kept = list(dict.fromkeys(grams)) if feature.deduplicate else grams
        for at, gram in enumerate(kept):
            pieces.append(Piece(_text(gram, name), "+".join(map(str, np.atleast_1d(row[column + at])))))
        if feature.deduplicate:
            repeated += [_text(gram, name) for at, gram in enumerate(grams) if gram in grams[:at]]
        column += feature.max_tokens - order + 1
    return Encoded(pieces, repeated, [name(token) for token in cut])


def _text(gram: Sequence[int], name: Callable[[int], str]) -> str:
    return " ".join(name(token) for token in gram)
