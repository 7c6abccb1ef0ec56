"""Which captions lose their end, counted beside an oracle that tokenizes word by word."""

import numpy as np
import pytest

from models.captioner.presets import TINY
from models.contract import CaptionTokenizer
from models.contract.cuts import caption_cuts
from models.contract.tokens import TokenRows

TOKENIZER = CaptionTokenizer.from_file(TINY / "tokenizer.json")
LONG = (
    "an extraordinarily detailed photograph of several weathered fishermen mending their nets beside a harbour wall "
    "while seagulls circle overhead at dusk"
)
CAPTIONS = [LONG, "a red house", "", "two green birds on a lake at night", LONG.upper(), "unpronounceable " * 9]


def lost_word(text: str, limit: int) -> int | None:
    """The first word that does not fit: every word's pieces are counted on their own."""
    used = 0
    for number, word in enumerate(text.split(), start=1):
        used += len(TOKENIZER.encode([word])[0])
        if used > limit:
            return number
    return None


@pytest.mark.parametrize("limit", [3, 8, 16, 32, 64, 500])
def test_cuts_and_their_words_are_those_of_words_tokenized_one_by_one(limit: int) -> None:
    cuts = caption_cuts(TOKENIZER.encode_rows(CAPTIONS), limit, TOKENIZER.word_starts())
    wanted = sorted(word for word in (lost_word(text, limit) for text in CAPTIONS) if word is not None)
    assert (cuts.captions, cuts.cut) == (5, len(wanted))
    assert cuts.share == len(wanted) / 5
    if not wanted:
        assert (cuts.first_lost_word, cuts.words) == (None, None)
        return
    assert cuts.first_lost_word == tuple(wanted[max(0, int(np.ceil(len(wanted) * q)) - 1)] for q in (0.1, 0.5, 0.9))


def test_the_loss_of_a_long_caption_is_told_with_its_remedy() -> None:
    rows = TOKENIZER.encode_rows([LONG] * 20)
    cuts = caption_cuts(rows, 32, TOKENIZER.word_starts())
    assert (cuts.words, cuts.share, cuts.loud) == (len(LONG.split()), 1.0, True)
    needed = len(TOKENIZER.encode([LONG])[0])
    assert cuts.tokens_needed == needed
    assert f"max_tokens: {needed}" in cuts.warning()
    assert f"at word {lost_word(LONG, 32)} of {len(LONG.split())}" in str(cuts)
    assert caption_cuts(rows, needed, TOKENIZER.word_starts()).cut == 0


def test_few_cuts_are_told_and_not_loud() -> None:
    rows = TOKENIZER.encode_rows(["a red house"] * 99 + [LONG])
    cuts = caption_cuts(rows, 32, TOKENIZER.word_starts())
    assert (cuts.cut, cuts.loud) == (1, False)
    assert str(cuts).startswith("1 of 100 captions (1.0%) are cut")


def test_nothing_is_claimed_of_words_of_an_unknown_tokenizer_or_of_no_captions() -> None:
    assert caption_cuts(TOKENIZER.encode_rows([LONG]), 5).first_lost_word is None
    none = caption_cuts(TokenRows.of([]), 5, TOKENIZER.word_starts())
    assert (none.captions, none.cut, none.share, none.loud, none.tokens_needed) == (0, 0, 0.0, False, 0)
