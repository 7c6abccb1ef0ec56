"""What a `tokenizer.json` promises, read from its JSON: which pipelines may be cached word by word."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

SPACE_MARK = "\u2581"  # ▁, which LLaMA's tokenizer writes for a space


def plain_text_pipeline(document: Mapping[str, Any]) -> str:
    """The same tokenizer as JSON, without added tokens, templates, padding and truncation.

    A caption is data: "<s>" or "<image>" written in it is text like any other and must not become a control token.
    """
    plain = {**document, "added_tokens": [], "post_processor": None, "truncation": None, "padding": None}
    return json.dumps(plain)


def words_are_independent(document: Mapping[str, Any]) -> bool:
    """Whether normalised text (single spaces, no ▁ of its own) may be encoded word by word with the same ids.

    True for LLaMA's two forms (normalizer Prepend and Replace, or Metaspace) over a deterministic BPE in which no entry
    could span two words: an entry spans them only if it has a single ▁ after its start; one that holds "▁▁" (LLaMA2's
    runs of spaces) cannot occur in text with single spaces.
    """
    model = document.get("model", {})
    vocabulary = model.get("vocab", {})
    plain_bpe = (
        model.get("type") == "BPE"
        and not model.get("dropout")
        and not model.get("ignore_merges")
        and not model.get("continuing_subword_prefix")
        and not model.get("end_of_word_suffix")
    )
    if not plain_bpe or SPACE_MARK not in vocabulary or not (_prepends(document) or _metaspace(document)):
        return False
    return not any(SPACE_MARK in entry[1:] and SPACE_MARK * 2 not in entry for entry in vocabulary)


def _prepends(document: Mapping[str, Any]) -> bool:
    if document.get("pre_tokenizer") is not None:
        return False
    steps = (document.get("normalizer") or {}).get("normalizers", [])
    prepend = {"type": "Prepend", "prepend": SPACE_MARK}
    replace = {"type": "Replace", "pattern": {"String": " "}, "content": SPACE_MARK}
    return bool(steps == [prepend, replace])


def _metaspace(document: Mapping[str, Any]) -> bool:
    if document.get("normalizer") is not None:
        return False
    step = document.get("pre_tokenizer") or {}
    return bool(
        step.get("type") == "Metaspace"
        and step.get("replacement") == SPACE_MARK
        and step.get("prepend_scheme") in ("always", "first")
    )
