"""How many captions lose their end to a contract's `max_tokens`, and at which word."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from models.contract.tokens import TokenRows

LOUD_SHARE = 0.05
"""Above this share of captions that are cut, whoever trains on them is warned."""
QUANTILES = (0.1, 0.5, 0.9)


@dataclass(frozen=True, slots=True)
class CaptionCuts:
    """What `max_tokens` leaves of a set of captions; captions without tokens do not count.

    Attributes:
        captions, cut: how many there are, and how many have more than `max_tokens` tokens.
        first_lost_word: of those cut, the number (from 1) of the first word that is not whole: its 10 %, 50 % and 90 %
            quantiles; None where nothing is cut or the tokenizer's words are not known.
        words: of those cut, the median number of words.
        tokens_needed: tokens that hold 99 of 100 captions whole.
    """

    max_tokens: int
    captions: int
    cut: int
    first_lost_word: tuple[int, int, int] | None
    words: int | None
    tokens_needed: int

    @property
    def share(self) -> float:
        """Share of the captions that are cut; 0 where there are none."""
        return self.cut / self.captions if self.captions else 0.0

    @property
    def loud(self) -> bool:
        """Whether more than `LOUD_SHARE` are cut."""
        return self.share > LOUD_SHARE

    def __str__(self) -> str:
        if not self.cut:
            return f"none of {self.captions} captions is cut by max_tokens {self.max_tokens}"
        text = f"{self.cut} of {self.captions} captions ({self.share:.1%}) are cut by max_tokens {self.max_tokens}"
        if self.first_lost_word is None:
            return text
        low, median, high = self.first_lost_word
        return f"{text}, at word {median} of {self.words} (median; 10 % by word {low}, 90 % by word {high})"

    def warning(self) -> str:
        """The same, and what to do: for a share that is `loud`."""
        return (
            f"captions lose their end: {self}. Train with caption: {{max_tokens: {self.tokens_needed}}} in the recipe, "
            "which keeps 99 of 100 whole, or with a tokenizer that needs fewer pieces a word"
        )

    def document(self) -> Mapping[str, object]:
        """For JSON."""
        return {
            "max_tokens": self.max_tokens,
            "captions": self.captions,
            "cut": self.cut,
            "share": round(self.share, 6),
            "first_lost_word": None
            if self.first_lost_word is None
            else dict(zip(("p10", "median", "p90"), self.first_lost_word, strict=True)),
            "words": self.words,
            "tokens_needed": self.tokens_needed,
        }


def caption_cuts(rows: TokenRows, max_tokens: int, word_starts: npt.NDArray[np.bool_] | None = None) -> CaptionCuts:
    """Count the cuts.

    Args:
        rows: untruncated tokens.
        word_starts: for each token id, whether it begins a word (`CaptionTokenizer.word_starts`), [vocabulary].
    """
    lengths = np.diff(rows.offsets)
    given = lengths[lengths > 0]
    cut = lengths > max_tokens
    lost, words = None, None
    if word_starts is not None and cut.any():
        begins = word_starts[rows.ids]
        begins[rows.offsets[:-1][lengths > 0]] = True  # the first token begins a word however it is written
        before = np.concatenate([[0], np.cumsum(begins)])
        starts, ends = rows.offsets[:-1][cut], rows.offsets[1:][cut]
        # The word that the first token beyond the limit belongs to.
        first = before[starts + max_tokens + 1] - before[starts]
        low, median, high = (int(value) for value in np.quantile(first, QUANTILES, method="inverted_cdf"))
        lost, words = (low, median, high), int(np.median(before[ends] - before[starts]))
    needed = int(np.quantile(given, 0.99, method="inverted_cdf")) if len(given) else 0
    return CaptionCuts(max_tokens, len(given), int(cut.sum()), lost, words, needed)
