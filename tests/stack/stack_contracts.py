"""A contract with a caption and little else."""

from typing import Any

from models.contract import CaptionFeature, Contract


def caption_contract(encoder: Any, *, max_tokens: int, deduplicate: bool) -> Contract:
    caption = CaptionFeature(tokenizer_sha256="0" * 64, max_tokens=max_tokens, deduplicate=deduplicate, encoder=encoder)
    return Contract(name="shown", version=1, dense=(), categorical=(), caption=caption)
