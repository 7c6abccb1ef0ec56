"""The training runs of a recipe: every fold of every split, variant by variant and seed by seed."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from models.contract import CaptionTokenizer
from training import baselines, lift
from training.data.dataset import Dataset
from training.data.splits import split
from training.jobs import Job
from training.lift import Scored
from training.recipe import Recipe, SplitChoice
from training.rows import Parts, Tokens, encode_split
from training.validation import with_validation
from training.variant import TrainResult, split_contract


@dataclass(frozen=True, slots=True)
class Fold:
    """One fold of one split: its training runs, variant by variant and seed by seed, and its baselines."""

    choice: SplitChoice
    variants: tuple[str, ...]
    parts: Parts
    captions: Tokens
    sizes: tuple[int, int, int]
    jobs: tuple[Job, ...]

    def by_variant(self, results: Sequence[TrainResult]) -> dict[str, Sequence[TrainResult]]:
        """The results of `jobs`, in their order, per variant. Without any caption the ranker is its own ablation."""
        seeds = len(self.jobs) // len(self.variants)
        found = {name: results[place * seeds :][:seeds] for place, name in enumerate(self.variants)}
        with_captions = found.get(lift.WITH, found[lift.WITHOUT])
        return {lift.WITHOUT: found[lift.WITHOUT], lift.WITH: with_captions, **found}

    def scored(self, results: Sequence[TrainResult]) -> Scored:
        """The test rows with everybody's scores."""
        scores = {
            lift.ITEM_MEAN: baselines.item_mean(self.parts)[None],
            lift.LOGISTIC: baselines.logistic_regression(self.parts)[None],
        }
        for name, each in self.by_variant(results).items():
            scores[name] = np.stack([result.test_scores for result in each])
        return _scored(self.parts, self.captions, scores)


def folds(
    recipe: Recipe,
    dataset: Dataset,
    captions: Tokens,
    tokenizer: CaptionTokenizer,
    words: Mapping[str, Sequence[str]] | None,
    checkpoints: Path | None,
) -> list[Fold]:
    """Every fold of every split of a recipe, encoded; the arguments are those of `training.run.measure_lift`."""
    return [
        _fold(recipe, dataset, choice, number, captions, tokenizer, words, checkpoints)
        for choice in recipe.splits
        for number in choice.folds
    ]


def _fold(
    recipe: Recipe,
    dataset: Dataset,
    choice: SplitChoice,
    number: int,
    captions: Tokens,
    tokenizer: CaptionTokenizer,
    words: Mapping[str, Sequence[str]] | None,
    checkpoints: Path | None,
) -> Fold:
    part = split(dataset, choice.name, seed=choice.seed, fold=number)
    contract = split_contract(recipe, dataset, part, tokenizer)
    variants: dict[str, Tokens | None] = {lift.WITHOUT: None}
    if captions:
        variants[lift.WITH] = captions
    if choice.reference and words is not None:
        variants[lift.REFERENCE] = word_ids(words)
    jobs: list[Job] = []
    encoded = {
        name: with_validation(
            encode_split(dataset, part, contract if tokens else contract.without_caption(), tokens), choice.name
        )
        for name, tokens in variants.items()
    }
    for name, tokens in variants.items():
        for seed in recipe.seeds:
            label = f"{choice.name} {number}, {name}, seed {seed}"
            jobs.append(
                Job(
                    label=label,
                    recipe=recipe,
                    contract=contract if tokens else contract.without_caption(),
                    parts=encoded[name],
                    seed=seed,
                    checkpoint=checkpoints
                    and checkpoints / f"{label.replace(', ', '-').replace(' ', '-')}.safetensors",
                    identity={"data": dataset.digest, "run": label, "captions": _digest(tokens)},
                )
            )
    parts = encoded[lift.WITHOUT]
    sizes = (len(parts.train), len(parts.valid), len(parts.test))
    return Fold(choice, tuple(variants), parts, captions, sizes, tuple(jobs))


def word_ids(words: Mapping[str, Sequence[str]]) -> Tokens:
    """Words as token ids of their own (their place in the alphabet): the reference needs no tokenizer."""
    known = {word: number for number, word in enumerate(sorted({word for each in words.values() for word in each}))}
    return {item: np.array([known[word] for word in each], dtype=np.int32) for item, each in words.items()}


def _digest(tokens: Tokens | None) -> str | None:
    """Of captions, so that a run never goes on with others than it began with."""
    if tokens is None:
        return None
    digest = hashlib.sha256()
    for item in sorted(tokens):
        digest.update(f"{item}\0{tokens[item].tolist()}\n".encode())
    return digest.hexdigest()


def _scored(parts: Parts, captions: Tokens, scores: Mapping[str, Any]) -> Scored:
    test = parts.test
    names, counts = np.unique(parts.train.items.astype(str), return_counts=True)
    seen = dict(zip(names.tolist(), counts.tolist(), strict=True))
    return Scored(
        labels=test.labels,
        users=test.users.astype(str),
        items=test.items.astype(str),
        item_count=np.array([seen.get(item, 0) for item in test.items], dtype=np.int64),
        captioned=np.array([len(captions.get(item, ())) > 0 for item in test.items], dtype=np.bool_),
        scores=scores,
    )
