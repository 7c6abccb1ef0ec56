"""A whole recipe: every split, variant and seed, the lift, and the two bundles that are served.

The bundles are the first seed's models of the first split: `ranker` with captions and `ranker-ids`, its ablation.
They are exactly what the report measured, trained on the split's training rows and not once more on all rows, so
that the figures in metrics.json are those of the file beside it.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from models.bundle import Bundle, Provenance, write_bundle
from models.contract import CaptionTokenizer, Contract
from models.export.onnx import check_parity, export_onnx
from training import baselines, lift
from training.data.dataset import Dataset
from training.data.splits import Split, split
from training.lift import LiftReport, SplitReport, Scored
from training.loop import Epoch
from training.recipe import Recipe, SplitChoice
from training.rows import Parts, Tokens, encode_split
from training.variant import TrainResult, split_contract, train_encoded

RANKER, ABLATION = "ranker", "ranker-ids"


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a recipe is: `done` of `total` training runs (with fractions), and what is being done."""

    done: float
    total: int
    doing: str


@dataclass(frozen=True, slots=True)
class Measured:
    """The report, and the two trained rankers to serve by bundle name."""

    report: LiftReport
    served: Mapping[str, TrainResult]


def measure_lift(
    recipe: Recipe,
    dataset: Dataset,
    captions: Tokens,
    tokenizer: CaptionTokenizer,
    *,
    words: Mapping[str, Sequence[str]] | None = None,
    on_progress: Callable[[Progress], None] = lambda progress: None,
    checkpoints: Path | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> Measured:
    """Train and measure everything that the recipe names.

    Args:
        captions: token ids by item id, made by `tokenizer`; items that are not in it have no caption.
        words: what each item's picture was made from, where that is known; without it there is no reference line.
        checkpoints: a folder for the state of unfinished runs; a second call with the same arguments goes on from it.
    """
    variants: dict[str, Tokens | None] = {lift.WITHOUT: None, lift.WITH: captions}
    if recipe.reference and words is not None:
        variants[lift.REFERENCE] = word_ids(words)
    counter = _Counter(recipe, len(variants), on_progress)
    served: dict[str, TrainResult] = {}
    reports = []
    for choice in recipe.splits:
        began = clock()
        joined, sizes = [], np.zeros(3, dtype=np.int64)
        for fold in choice.folds:
            part = split(dataset, choice.name, seed=choice.seed, fold=fold)
            contract = split_contract(recipe, dataset, part, tokenizer)
            run = _SplitRun(recipe, dataset, part, contract, counter, checkpoints, f"{choice.name}-{fold}")
            joined.append(run.measure(variants, served))
            sizes += len(part.train), len(part.valid), len(part.test)
        rows = Scored.joined(joined)
        reports.append(_report(recipe, choice, rows, sizes.tolist(), clock() - began))
    report = LiftReport(
        recipe=recipe.name,
        data_digest=dataset.digest,
        seeds=recipe.seeds,
        level=recipe.bootstrap.level,
        resamples=recipe.bootstrap.resamples,
        cold_below=recipe.cold_below,
        splits=tuple(reports),
    )
    return Measured(report, served)


def word_ids(words: Mapping[str, Sequence[str]]) -> Tokens:
    """Words as token ids of their own (their place in the alphabet): the reference needs no tokenizer."""
    known = {word: number for number, word in enumerate(sorted({word for each in words.values() for word in each}))}
    return {item: np.array([known[word] for word in each], dtype=np.int32) for item, each in words.items()}


def write_bundles(
    measured: Measured,
    out_dir: Path,
    tokenizer: bytes,
    *,
    created: str,
    git_revision: str,
) -> dict[str, Bundle]:
    """Export both served rankers, check them against PyTorch, and write `out_dir`/ranker and `out_dir`/ranker-ids.

    `tokenizer` is the tokenizer.json that `captions` were made with; `created` an ISO 8601 time with its zone.

    Raises:
        ExportError: the exported file does not score as PyTorch does; nothing is written then.
    """
    bundles = {}
    for name, result in measured.served.items():
        with tempfile.TemporaryDirectory() as folder:
            onnx_path = Path(folder) / "model.onnx"
            export_onnx(result.model, result.contract, onnx_path)
            parity = check_parity(result.model, onnx_path, result.contract)
            bundles[name] = write_bundle(
                out_dir / name,
                onnx_path=onnx_path,
                contract=result.contract,
                tokenizer=tokenizer if result.contract.caption else None,
                metrics={**_metrics(result), "parity": parity, "lift": measured.report.model_dump(mode="json")},
                provenance=Provenance(
                    name=name, created=created, git_revision=git_revision, data_digest=measured.report.data_digest
                ),
            )
    return bundles


def _metrics(result: TrainResult) -> dict[str, Any]:
    fitted = result.fitted
    return {"epochs": fitted.epochs, "best_epoch": fitted.best_epoch, "valid_auc": fitted.valid_auc}


@dataclass(frozen=True, slots=True)
class _SplitRun:
    """One fold of one split."""

    recipe: Recipe
    dataset: Dataset
    split: Split
    contract: Contract
    counter: _Counter
    checkpoints: Path | None
    label: str

    def measure(self, variants: Mapping[str, Tokens | None], served: dict[str, TrainResult]) -> Scored:
        """Train every variant with every seed; the first results of WITH and WITHOUT go into an empty `served`."""
        scores: dict[str, Any] = {}
        first: dict[str, TrainResult] = {}
        parts = None
        for name, captions in variants.items():
            contract = self.contract.without_caption() if captions is None else self.contract
            encoded = encode_split(self.dataset, self.split, contract, captions)
            if parts is None:
                parts = encoded
                self.counter.say(f"{self.label}: baselines")
                scores[lift.ITEM_MEAN] = baselines.item_mean(parts)[None]
                scores[lift.LOGISTIC] = baselines.logistic_regression(parts)[None]
            results = [self._train(name, contract, encoded, seed) for seed in self.recipe.seeds]
            first[name] = results[0]
            scores[name] = np.stack([result.test_scores for result in results])
        if not served:
            served.update({RANKER: first[lift.WITH], ABLATION: first[lift.WITHOUT]})
        assert parts is not None
        return _test_rows(parts, variants[lift.WITH] or {}, scores)

    def _train(self, name: str, contract: Contract, parts: Parts, seed: int) -> TrainResult:
        path = self.checkpoints and self.checkpoints / f"{self.label}-{name.replace(' ', '-')}-{seed}.safetensors"
        told = f"{self.label}: {name}, seed {seed}"
        self.counter.say(told)
        result = train_encoded(
            self.recipe,
            contract,
            parts,
            seed=seed,
            checkpoint=path or None,
            identity={"data": self.dataset.digest, "split": self.label, "variant": name},
            on_epoch=lambda epoch: self.counter.epoch(epoch, told),
        )
        self.counter.finish(told)
        return result


class _Counter:
    """Counts finished training runs and tells."""

    def __init__(self, recipe: Recipe, variants: int, tell: Callable[[Progress], None]) -> None:
        self._tell, self._done = tell, 0
        self._total = sum(len(choice.folds) for choice in recipe.splits) * variants * len(recipe.seeds)

    def say(self, doing: str) -> None:
        self._tell(Progress(self._done, self._total, doing))

    def epoch(self, epoch: Epoch, doing: str) -> None:
        self._tell(Progress(self._done + min(0.95, epoch.number / epoch.epochs), self._total, doing))

    def finish(self, doing: str) -> None:
        self._done += 1
        self.say(doing)


def _test_rows(parts: Parts, captions: Tokens, scores: Mapping[str, Any]) -> Scored:
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


def _report(recipe: Recipe, choice: SplitChoice, rows: Scored, sizes: Sequence[int], seconds: float) -> SplitReport:
    resampled: lift.Cluster = "items" if choice.name == "new_items" else "users"
    reference = (
        lift.gain(rows, resampled, recipe.bootstrap, variant=lift.REFERENCE) if lift.REFERENCE in rows.scores else None
    )
    return SplitReport(
        split=choice.name,
        train_rows=sizes[0],
        valid_rows=sizes[1],
        test_rows=sizes[2],
        train_seconds=seconds,
        resampled=resampled,
        rows=lift.table(rows),
        lift=lift.gain(rows, resampled, recipe.bootstrap),
        reference_lift=reference,
        slices=lift.slices(rows, resampled, recipe.bootstrap, recipe.cold_below),
    )
