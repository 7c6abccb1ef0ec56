"""What all stories need: two trained rankers, a catalogue that they have not seen, and their scores of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from models.bundle import Bundle, read_bundle
from serving.replay.catalogue import Catalogue, catalogue
from serving.replay.population import Taste, draw_taste
from serving.replay.scores import Float32s, score_table
from serving.replay.story import Model
from training.demo.build import Size, build
from training.revision import git_revision

DEMO = Size()
"""The demo's own size."""
_TASTE_SEED = 72
_BUNDLES: Mapping[Model, str] = {"captions": "ranker", "ids": "ranker-ids"}


@dataclass(frozen=True)
class Material:
    """`tables` are the rankers' scores float32 [personas, items]."""

    catalogue: Catalogue
    taste: Taste
    bundles: Mapping[Model, Bundle]
    tables: Mapping[Model, Float32s]


def material(folder: Path, say: Callable[[str], None], size: Size = DEMO) -> Material:
    """The material in `folder`, made if it is not there: a minute of training, on made-up data of that size."""
    demo = folder / "demo"
    if not demo.exists():
        created = datetime.now(UTC).isoformat(timespec="seconds")
        build(demo, created=created, git_revision=git_revision(), size=size, say=say)
    bundles = {model: read_bundle(demo / "bundles" / name) for model, name in _BUNDLES.items()}
    items = catalogue(folder / "catalogue.json", say)
    tables = {model: np.asarray(score_table(bundle, items)) for model, bundle in bundles.items()}
    return Material(items, draw_taste(_TASTE_SEED, items.likes), bundles, tables)
