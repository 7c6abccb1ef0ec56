"""One training run: a contract, a split, a seed; with captions or without."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from models.contract import CaptionTokenizer, Contract, FeatureEncoder, HashEncoder
from models.recommender.build import Ranker, build_ranker
from training.checkpoint import Saving
from training.compact import Compact
from training.data import features
from training.data.dataset import Dataset
from training.data.splits import Split
from training.distributed import ALONE, Group
from training.loop import Epoch, Fitted, fit, never, predict
from training.recipe import Hiding, Recipe, RecipeError
from training.rows import Parts, Tokens, encode_split
from training.steps import Hidden
from training.validation import with_validation


@dataclass(frozen=True, slots=True)
class TrainResult:
    """A trained ranker, with full tables and on the CPU.

    `test_scores` are its probabilities of the split's test rows, float32 [rows].
    """

    contract: Contract
    model: Ranker
    fitted: Fitted
    test_scores: npt.NDArray[np.float32]


def train(
    recipe: Recipe,
    dataset: Dataset,
    split: Split,
    captions: Tokens | None,
    tokenizer: CaptionTokenizer,
    *,
    seed: int | None = None,
    checkpoint: Path | None = None,
    on_epoch: Callable[[Epoch], None] = lambda epoch: None,
    stop: Callable[[], bool] = never,
    group: Group = ALONE,
) -> TrainResult:
    """Train one ranker on one split; without captions (None) it is the ablation.

    `captions` are token ids by item id, made by `tokenizer`; an item that is not in them has no caption. `seed` is the
    recipe's first unless given. `checkpoint` names a file to keep and to go on from; `stop` and `group` are those of
    `training.loop.fit`.

    Raises:
        RecipeError: the recipe hides a feature that the contract does not have.
        TrainingError, TrainingStoppedError, CheckpointError, RankError, RankLostError: see `training.loop.fit`.
    """
    contract = split_contract(recipe, dataset, split, tokenizer)
    if captions is None:
        contract = contract.without_caption()
    parts = with_validation(encode_split(dataset, split, contract, captions), split.name)
    identity = {"data": dataset.digest, "split": split.name}
    chosen = recipe.seeds[0] if seed is None else seed
    return train_encoded(
        recipe,
        contract,
        parts,
        seed=chosen,
        checkpoint=checkpoint,
        identity=identity,
        on_epoch=on_epoch,
        stop=stop,
        group=group,
    )


def split_contract(recipe: Recipe, dataset: Dataset, split: Split, tokenizer: CaptionTokenizer) -> Contract:
    """The contract with captions: vocabularies and scales of the split's training rows, captions as the recipe says."""
    caption = recipe.caption
    return features.contract(
        dataset,
        tokenizer,
        split,
        name=recipe.name,
        version=recipe.contract_version,
        max_tokens=caption.max_tokens,
        deduplicate=caption.deduplicate,
        encoder=HashEncoder(buckets=caption.buckets, seed=caption.seed, max_ngram=caption.max_ngram),
    )


def train_encoded(
    recipe: Recipe,
    contract: Contract,
    parts: Parts,
    *,
    seed: int,
    checkpoint: Path | None = None,
    identity: dict[str, Any] | None = None,
    on_epoch: Callable[[Epoch], None] = lambda epoch: None,
    stop: Callable[[], bool] = never,
    group: Group = ALONE,
) -> TrainResult:
    """`train` on rows that are encoded already, for many seeds of one split."""
    hidden = hidden_columns(recipe, contract)
    model = build_ranker(contract, recipe.ranker, seed=seed)
    caption_tables = contract.caption.table_sizes if contract.caption else ()
    compact = Compact.of(parts, tuple(feature.buckets for feature in contract.categorical), caption_tables)
    compact.shrink(model)
    settings = recipe.training
    fitted = fit(
        model,
        compact.parts.train,
        compact.parts.valid,
        seed=seed,
        epochs=settings.epochs,
        batch_size=settings.batch_size,
        patience=settings.patience,
        learning_rate=settings.learning_rate,
        weight_decay=settings.weight_decay,
        hidden=hidden,
        device=settings.device,
        threads=settings.threads,
        micro_batches=settings.micro_batches,
        saving=None if checkpoint is None else Saving(checkpoint, recipe.checkpoint.seconds, recipe.checkpoint.steps),
        identity={**(identity or {}), "contract": contract.digest, **_decisive(recipe)},
        on_epoch=on_epoch,
        stop=stop,
        group=group,
    )
    scores = predict(model, compact.parts.test)
    compact.grow(model)
    return TrainResult(contract, model, fitted, scores)


def _decisive(recipe: Recipe) -> dict[str, Any]:
    """What of a recipe decides the weights of one run."""
    chosen = recipe.model_dump(
        mode="json", include={"ranker": True, "training": True, "hide": True, "caption": {"hide"}}
    )
    del chosen["training"]["micro_batches"]  # the number of parts that it comes to is in the identity already
    return chosen


def hidden_columns(recipe: Recipe, contract: Contract) -> list[Hidden]:
    """The recipe's `hide` as columns of the contract's tensors. Raises RecipeError for a name that is no feature."""
    hidden = [_hidden(each, contract) for each in recipe.hide]
    if contract.caption is not None:
        hidden.append(Hidden(recipe.caption.hide, caption=True))
    return hidden


def _hidden(hiding: Hiding, contract: Contract) -> Hidden:
    categorical = {feature.name: column for column, feature in enumerate(contract.categorical)}
    dense = {feature.name: column for column, feature in enumerate(contract.dense)}
    unknown = sorted(set(hiding.features) - set(categorical) - set(dense))
    if unknown:
        raise RecipeError(
            f"hide.features has {unknown}; expected names of the contract: {sorted({*categorical, *dense})}"
        )
    default = _defaults(contract)
    return Hidden(
        share=hiding.share,
        categorical=tuple(categorical[name] for name in hiding.features if name in categorical),
        dense=tuple((dense[name], default[name]) for name in hiding.features if name in dense),
    )


def _defaults(contract: Contract) -> dict[str, float]:
    """The encoded value of each dense feature that is missing."""
    encoder = FeatureEncoder(contract)
    found: dict[str, float] = {}
    for source in features.SOURCES:
        names = [feature.name for feature in contract.dense if feature.source == source]
        values = encoder.side(source, {}, 1).dense[0]
        found.update(zip(names, values.tolist(), strict=True))
    return found
