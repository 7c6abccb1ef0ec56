"""The captioner's tokenizer: LLaMA-style BPE with byte fallback, learned from the project's own captions."""

import json
import random
import string
from collections.abc import Iterable, Iterator
from typing import Any

from tokenizers import (
    AddedToken,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)

from training.captioner.grammar import PLURALS, caption
from training.captioner.scene import KINDS, sample_scene

UNKNOWN, BEGIN, END = "<unk>", "<s>", "</s>"
IMAGE, PAD = "<image>", "<pad>"
SPACE = "▁"
CAPTIONS = 4000
CAPITALS = ("USER:", "ASSISTANT:")


def corpus(seed: int) -> Iterator[str]:
    """Texts to learn from: sampled captions, every kind alone, and the prompt's words."""
    rng = random.Random(seed)
    for _ in range(CAPTIONS):
        yield caption(sample_scene(rng))
    for kind in KINDS:
        yield from (f"the {kind} and some {PLURALS[kind]} of this picture show",) * 20
    for word in CAPITALS:
        yield from (f"a {word} is {word} of the picture",) * 20


def train_tokenizer(seed: int, vocabulary: int = 1000) -> Tokenizer:
    """Learn the tokenizer.

    Ids: <unk> 0, <s> 1, </s> 2, the 256 bytes, characters, merges, and <image> and <pad> last, as llava-hf has them.
    The merges are learned word by word, so no token holds a space but at its start; the tokenizer itself has no
    pre-tokenizer.
    """
    learner = Tokenizer(models.BPE(unk_token=UNKNOWN, byte_fallback=True, fuse_unk=True))
    learner.normalizer = _normalizer()
    learner.pre_tokenizer = pre_tokenizers.Split(SPACE, "merged_with_next")
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary - 2,
        special_tokens=[UNKNOWN, BEGIN, END, *(f"<0x{byte:02X}>" for byte in range(256))],
        initial_alphabet=[*string.ascii_letters, *string.digits, *string.punctuation, SPACE],
        show_progress=False,
    )
    learner.train_from_iterator(corpus(seed), trainer)
    return _assemble(json.loads(learner.to_str())["model"])


def special_id(tokenizer: Tokenizer, token: str) -> int:
    """The id of a token that the tokenizer must have.

    Raises:
        KeyError: it has none.
    """
    found = tokenizer.token_to_id(token)
    if found is None:
        raise KeyError(f"token {token!r} is not in the tokenizer's {tokenizer.get_vocab_size()} tokens")
    return int(found)


def _normalizer() -> normalizers.Normalizer:
    return normalizers.Sequence([normalizers.Prepend(SPACE), normalizers.Replace(" ", SPACE)])


def _assemble(model: dict[str, Any]) -> Tokenizer:
    """The learned vocabulary and merges in the form of llama-2's tokenizer.json, with llava-hf's added tokens."""

    bpe = models.BPE(
        vocab=model["vocab"],
        merges=[(left, right) for left, right in model["merges"]],
        unk_token=UNKNOWN,
        byte_fallback=True,
        fuse_unk=True,
    )
    tokenizer = Tokenizer(bpe)
    tokenizer.normalizer = _normalizer()
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace(SPACE, " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{BEGIN} $A", pair=f"{BEGIN} $A {BEGIN}:1 $B:1", special_tokens=[(BEGIN, 1)]
    )
    tokenizer.add_special_tokens(_added((UNKNOWN, BEGIN, END, IMAGE, PAD)))
    return tokenizer


def _added(tokens: Iterable[str]) -> list[AddedToken]:
    return [AddedToken(token, special=True, normalized=False) for token in tokens]
