"""The catalogue of a replay: items that no ranker was trained on, and what the captioner read off their pictures."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from models.captioner.llava import LlavaCaptioner
from models.captioner.presets import PRESETS
from models.contract import CaptionTokenizer
from models.files import write_atomic
from models.items import ItemRow, StoredCaption
from training.captioner.render import render
from training.captioner.scene import Scene
from training.demo.world import liked, scenes_of

ITEMS = 120
_SEED = 71
_SIDE = 96


@dataclass(frozen=True, slots=True)
class Catalogue:
    """Items: their ids, captions and, as float64 [segments, items], how many of a segment's likes each one shows."""

    ids: tuple[str, ...]
    captions: tuple[str, ...]
    captioner: str
    prompt: str
    likes: npt.NDArray[np.float64]

    def rows(self, tokenizer: CaptionTokenizer) -> list[ItemRow]:
        """What the item store holds of them."""
        tokens = tokenizer.encode(list(self.captions))
        return [
            ItemRow(item, StoredCaption(text, ids, tokenizer.sha256, self.captioner, self.prompt), {})
            for item, text, ids in zip(self.ids, self.captions, tokens, strict=True)
        ]


def catalogue(file: Path, say: Callable[[str], None]) -> Catalogue:
    """The catalogue; the captions are read off the pictures once, by the tiny captioner, and kept in `file`."""
    scenes = scenes_of(random.Random(_SEED), ITEMS)
    ids = tuple(f"new{number:04d}" for number in range(ITEMS))
    if not file.exists():
        say(f"captioning {ITEMS} pictures that no ranker has seen")
        write_atomic(file, json.dumps(_captioned(scenes), indent=1).encode() + b"\n")
    known = json.loads(file.read_bytes())
    return Catalogue(ids, tuple(known["captions"]), known["captioner"], known["prompt"], liked(scenes))


def _captioned(scenes: list[Scene]) -> dict[str, object]:
    captioner = LlavaCaptioner.load(PRESETS["tiny"])
    pictures = [render(scene, _SEED * 1_000_000 + number, _SIDE) for number, scene in enumerate(scenes)]
    made_by = captioner.provenance
    texts = [each.text for each in captioner.caption(pictures)]
    return {"captioner": made_by.captioner, "prompt": made_by.prompt, "captions": texts}
