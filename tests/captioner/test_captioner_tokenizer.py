"""The captioner's tokenizer: LLaMA's rules over the project's own words."""

import json
import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from models.captioner.presets import TINY
from training.captioner.grammar import caption
from training.captioner.scene import sample_scene
from training.captioner.tokenizer import train_tokenizer

SPACE = "▁"


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.from_file(str(TINY / "tokenizer.json"))


def test_special_tokens_have_llava_hfs_places(tokenizer: Tokenizer) -> None:
    size = tokenizer.get_vocab_size()
    assert [tokenizer.token_to_id(token) for token in ("<unk>", "<s>", "</s>", "<0x00>")] == [0, 1, 2, 3]
    assert [tokenizer.token_to_id(token) for token in ("<image>", "<pad>")] == [size - 2, size - 1]
    assert size < 32_000


def test_no_token_holds_a_space_but_at_its_start(tokenizer: Tokenizer) -> None:
    assert [token for token in tokenizer.get_vocab() if SPACE in token[1:]] == []


def test_the_file_has_llama_2s_form(tokenizer: Tokenizer) -> None:
    file = json.loads((TINY / "tokenizer.json").read_text(encoding="utf-8"))
    assert file["pre_tokenizer"] is None
    assert file["model"]["byte_fallback"] is True
    assert file["normalizer"]["normalizers"] == [
        {"type": "Prepend", "prepend": SPACE},
        {"type": "Replace", "pattern": {"String": " "}, "content": SPACE},
    ]


def test_every_word_of_a_caption_is_one_token(tokenizer: Tokenizer) -> None:
    rng = random.Random(11)
    for _ in range(300):
        text = caption(sample_scene(rng))
        assert len(tokenizer.encode(text, add_special_tokens=False).ids) == len(text.split())


@given(text=st.text(max_size=40))
@settings(max_examples=200, deadline=None)
def test_any_text_comes_back_from_its_bytes(tokenizer: Tokenizer, text: str) -> None:
    if any(token in text for token in ("<unk>", "<s>", "</s>", "<image>", "<pad>", SPACE)) or "\ufffd" in text:
        return
    assert tokenizer.decode(tokenizer.encode(text).ids) == text


def test_learning_it_again_gives_the_committed_file(tokenizer: Tokenizer, tmp_path: Path) -> None:
    seed = json.loads((TINY / "report.json").read_text(encoding="utf-8"))["settings"]["seed"]
    assert train_tokenizer(seed).get_vocab() == tokenizer.get_vocab()
