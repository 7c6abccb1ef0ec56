"""The caption tokenizer: a LLaMA-style `tokenizer.json`, pinned by its sha256."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import tokenizers

from models.contract.encoders import IdentityEncoder, QREncoder
from models.contract.errors import DigestMismatchError, TokenizerError, shown
from models.contract.features import CaptionFeature
from models.contract.llama_json import SPACE_MARK, plain_text_pipeline, words_are_independent
from models.contract.text import normalize
from models.contract.tokens import TokenRows
from models.contract.word_cache import WordCache
from models.contract.words import split_words

Ids = npt.NDArray[np.int32]
BLOCK_CAPTIONS = 2048  # temporaries stay small, and a full cache is emptied between blocks
_SPACES = (SPACE_MARK, "\u0120")  # a space as LLaMA's and GPT's tokenizers write it
CACHE_WORDS = 131_072
CACHE_BYTES = 4_000_000


class CaptionTokenizer:
    """Text to token ids: normalised (`models.contract.text`), no special tokens, untruncated, the library's exact ids.

    Whatever a caption says is text: "<s>" in it never becomes a control token. Safe for threads.
    """

    def __init__(self, data: bytes, where: str, cache_words: int = CACHE_WORDS, cache_bytes: int = CACHE_BYTES) -> None:
        document = _parsed(data, where)
        try:
            self._library = tokenizers.Tokenizer.from_str(plain_text_pipeline(document))
        except Exception as error:  # the library raises nothing narrower
            raise TokenizerError(f"{where}: is no usable tokenizer.json ({error}); write it again") from error
        self.sha256 = hashlib.sha256(data).hexdigest()
        self.vocabulary_size = _vocabulary_size(document, self._library)
        self._where = where
        self._cache = WordCache(self._library_ids, cache_words, cache_bytes)
        self._cached = words_are_independent(document)
        self._lock = threading.Lock()

    @classmethod
    def from_file(cls, path: str | Path, expected_sha256: str | None = None) -> Self:
        """Read a `tokenizer.json`. Raises `TokenizerError`, or `DigestMismatchError` if it is another one."""
        try:
            data = Path(path).read_bytes()
        except OSError as error:
            raise TokenizerError(f"tokenizer {path}: cannot be read ({error}); give the path of a file") from error
        return cls.from_bytes(data, expected_sha256, where=str(path))

    @classmethod
    def from_bytes(cls, data: bytes, expected_sha256: str | None = None, where: str = "tokenizer.json") -> Self:
        """Like `from_file`, from the file's content."""
        actual = hashlib.sha256(data).hexdigest()
        if expected_sha256 is not None and actual != expected_sha256:
            raise DigestMismatchError(expected_sha256, actual, where)
        return cls(data, where)

    def verify(self, feature: CaptionFeature) -> None:
        """Refuse to work for a contract that was made with another tokenizer.

        Raises `DigestMismatchError`; `TokenizerError` if the encoder's vocabulary is smaller than this one's.
        """
        if feature.tokenizer_sha256 != self.sha256:
            raise DigestMismatchError(feature.tokenizer_sha256, self.sha256, self._where)
        encoder = feature.encoder
        if isinstance(encoder, IdentityEncoder | QREncoder) and encoder.vocabulary_size < self.vocabulary_size:
            raise TokenizerError(
                f"caption.encoder.vocabulary_size: is {encoder.vocabulary_size}; expected at least "
                f"{self.vocabulary_size}, the tokenizer's; raise it or use another encoder"
            )

    def word_starts(self) -> npt.NDArray[np.bool_]:
        """For each id, whether its piece begins a word: by its mark of a space (▁ or Ġ), or, where the tokenizer marks
        what continues a word (##), by the lack of that; [vocabulary_size].
        """
        pieces = self._library.get_vocab(with_added_tokens=False)
        continues = any(piece.startswith("##") for piece in pieces)
        starts = np.zeros(self.vocabulary_size, dtype=np.bool_)
        for piece, number in pieces.items():
            starts[number] = not piece.startswith("##") if continues else piece.startswith(_SPACES)
        return starts

    @property
    def caches_words(self) -> bool:
        """Whether this tokenizer may be cached word by word (`llama_json.words_are_independent`)."""
        return self._cached

    @property
    def cached_words(self) -> int:
        """How many words are remembered now."""
        return len(self._cache)

    def encode(self, texts: Sequence[str]) -> list[Ids]:
        """Token ids of each text: int32 arrays; a text without words gives an empty one.

        Raises `TokenizerError` if a text is not a string.
        """
        return list(self.encode_rows(texts))

    def encode_rows(self, texts: Sequence[str]) -> TokenRows:
        """The same as flat arrays: what large corpora use."""
        if isinstance(texts, str):
            raise TokenizerError(f"texts: is {shown(texts)}; expected a sequence of strings; put it in a list")
        blocks = [self._encode_block(block, first) for first, block in _blocks(texts)]
        return blocks[0] if len(blocks) == 1 else _joined(blocks)

    def _encode_block(self, texts: list[str], first: int) -> TokenRows:
        _check_texts(texts, first)
        if not self._cached:
            return self._through_library(texts)
        foreign = [number for number, text in enumerate(texts) if SPACE_MARK in text]
        if foreign:
            return self._mixed(texts, foreign)
        words = split_words(texts)
        with self._lock:
            return self._cache.encode(words)

    def _mixed(self, texts: list[str], foreign: list[int]) -> TokenRows:
        """A text that holds ▁ itself has word ends that white space does not show: the library encodes it."""
        apart = dict(zip(foreign, self._through_library([texts[i] for i in foreign]), strict=True))
        words = split_words(["" if number in apart else text for number, text in enumerate(texts)])
        with self._lock:
            rest = self._cache.encode(words)
        return TokenRows.of([apart.get(number, row) for number, row in enumerate(rest)])

    def _through_library(self, texts: list[str]) -> TokenRows:
        ids = self._library_ids(list(map(normalize, texts)))
        return TokenRows.of([np.array(row, dtype=np.int32) for row in ids])

    def _library_ids(self, texts: list[str]) -> list[list[int]]:
        return [row.ids for row in self._library.encode_batch_fast(texts, add_special_tokens=False)]


def _parsed(data: bytes, where: str) -> dict[str, Any]:
    try:
        document = json.loads(data)
    except ValueError as error:
        raise TokenizerError(f"{where}: is not JSON ({error}); give a tokenizer.json") from error
    if not isinstance(document, dict) or not isinstance(document.get("model"), dict):
        raise TokenizerError(f"{where}: has no `model`; expected a tokenizer.json; give such a file")
    return document


def _vocabulary_size(document: dict[str, Any], library: tokenizers.Tokenizer) -> int:
    """One more than the highest id, added tokens counted too: an embedding made for the model has that many rows."""
    added = [int(token["id"]) for token in document.get("added_tokens") or []]
    return max([*library.get_vocab(with_added_tokens=False).values(), *added, -1]) + 1


def _check_texts(texts: list[str], first: int) -> None:
    if set(map(type, texts)) <= {str}:
        return
    for number, text in enumerate(texts, first):
        if not isinstance(text, str):
            raise TokenizerError(f"text {number}: is {shown(text)}; expected a string; drop it or give ''")


def _blocks(texts: Sequence[str]) -> Iterator[tuple[int, list[str]]]:
    for start in range(0, len(texts), BLOCK_CAPTIONS):
        yield start, list(texts[start : start + BLOCK_CAPTIONS])


def _joined(blocks: list[TokenRows]) -> TokenRows:
    if not blocks:
        return TokenRows.of([])
    shifts = np.cumsum([0, *(len(block.ids) for block in blocks[:-1])])
    offsets = [block.offsets[:-1] + shift for block, shift in zip(blocks, shifts, strict=True)]
    total = shifts[-1] + len(blocks[-1].ids)
    return TokenRows(np.concatenate([b.ids for b in blocks]), np.concatenate([*offsets, [total]]))
