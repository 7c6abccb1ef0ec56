"""A whole recipe: every split, variant and seed, the lift, and the two bundles that are served.

The bundles are the first seed's models of the first split: `ranker` with captions and `ranker-ids`, its ablation.
They are exactly what the report measured, trained on the split's training rows and not once more on all rows, so
that the figures in metrics.json are those of the file beside it.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from models.bundle import Bundle, Provenance, write_bundle
from models.contract import CaptionTokenizer
from models.export.onnx import check_parity, export_onnx
from training import baselines, lift
from training.data.dataset import Dataset
from training.data.splits import split
from training.jobs import Job, run_jobs
from training.lift import LiftReport, Scored, SplitReport
from training.loop import Epoch
from training.recipe import Recipe, SplitChoice
from training.rows import Parts, Tokens, encode_split
from training.variant import TrainResult, split_contract

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
) -> Measured:
    """Train and measure everything that the recipe names.

    Args:
        captions: token ids by item id, made by `tokenizer`; items that are not in it have no caption.
        words: what each item's picture was made from, where that is known; without it there is no reference line.
        checkpoints: a folder for the state of unfinished runs; a second call with the same arguments goes on from it.
    """
    folds = _folds(recipe, dataset, captions, tokenizer, words, checkpoints)
    jobs = [job for fold in folds for job in fold.jobs]
    counter = _Counter(len(jobs), on_progress)
    results = run_jobs(jobs, recipe.workers, counter.epoch, counter.finish)
    report = LiftReport(
        recipe=recipe.name,
        data_digest=dataset.digest,
        seeds=recipe.seeds,
        level=recipe.bootstrap.level,
        resamples=recipe.bootstrap.resamples,
        cold_below=recipe.cold_below,
        splits=tuple(_reports(recipe, folds, results)),
    )
    first = folds[0].by_variant(results[: len(folds[0].jobs)])
    return Measured(report, {RANKER: first[lift.WITH][0], ABLATION: first[lift.WITHOUT][0]})


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
class _Fold:
    """One fold of one split: its training runs, variant by variant and seed by seed, and its baselines."""

    choice: SplitChoice
    variants: tuple[str, ...]
    parts: Parts
    captions: Tokens
    sizes: tuple[int, int, int]
    jobs: tuple[Job, ...]

    def by_variant(self, results: Sequence[TrainResult]) -> dict[str, Sequence[TrainResult]]:
        """The results of `jobs`, in their order, per variant."""
        seeds = len(self.jobs) // len(self.variants)
        return {name: results[place * seeds :][:seeds] for place, name in enumerate(self.variants)}

    def scored(self, results: Sequence[TrainResult]) -> Scored:
        """The test rows with everybody's scores."""
        scores = {
            lift.ITEM_MEAN: baselines.item_mean(self.parts)[None],
            lift.LOGISTIC: baselines.logistic_regression(self.parts)[None],
        }
        for name, each in self.by_variant(results).items():
            scores[name] = np.stack([result.test_scores for result in each])
        return _scored(self.parts, self.captions, scores)


def _folds(
    recipe: Recipe,
    dataset: Dataset,
    captions: Tokens,
    tokenizer: CaptionTokenizer,
    words: Mapping[str, Sequence[str]] | None,
    checkpoints: Path | None,
) -> list[_Fold]:
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
) -> _Fold:
    part = split(dataset, choice.name, seed=choice.seed, fold=number)
    contract = split_contract(recipe, dataset, part, tokenizer)
    variants: dict[str, Tokens | None] = {lift.WITHOUT: None, lift.WITH: captions}
    if choice.reference and words is not None:
        variants[lift.REFERENCE] = word_ids(words)
    jobs: list[Job] = []
    encoded = {
        name: encode_split(dataset, part, contract if tokens else contract.without_caption(), tokens)
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
    sizes = (len(part.train), len(part.valid), len(part.test))
    return _Fold(choice, tuple(variants), encoded[lift.WITHOUT], captions, sizes, tuple(jobs))


class _Counter:
    """Counts finished training runs and tells."""

    def __init__(self, total: int, tell: Callable[[Progress], None]) -> None:
        self._total, self._tell, self._done = total, tell, 0
        tell(Progress(0, total, "training"))

    def epoch(self, job: Job, epoch: Epoch) -> None:
        self._tell(Progress(self._done + min(0.95, epoch.number / epoch.epochs), self._total, job.label))

    def finish(self, job: Job) -> None:
        self._done += 1
        self._tell(Progress(self._done, self._total, job.label))


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


def _reports(recipe: Recipe, folds: Sequence[_Fold], results: Sequence[TrainResult]) -> Iterator[SplitReport]:
    """A report per split, the test rows of its folds put together."""
    at = 0
    for choice in recipe.splits:
        mine = [fold for fold in folds if fold.choice is choice]
        scored = []
        for fold in mine:
            scored.append(fold.scored(results[at : at + len(fold.jobs)]))
            at += len(fold.jobs)
        yield _report(
            recipe, choice, Scored.joined(scored), [sum(sizes) for sizes in zip(*(f.sizes for f in mine), strict=True)]
        )


def _report(recipe: Recipe, choice: SplitChoice, rows: Scored, sizes: Sequence[int]) -> SplitReport:
    resampled: lift.Cluster = "items" if choice.name == "new_items" else "users"
    whole = lift.gain(rows, resampled, recipe.bootstrap)
    reference = None
    if lift.REFERENCE in rows.scores:
        reference = lift.gain(rows, resampled, recipe.bootstrap, variant=lift.REFERENCE)
    return SplitReport(
        split=choice.name,
        train_rows=sizes[0],
        valid_rows=sizes[1],
        test_rows=sizes[2],
        resampled=resampled,
        rows=lift.table(rows),
        lift=whole,
        reference_lift=reference,
        slices=lift.slices(rows, resampled, recipe.bootstrap, recipe.cold_below, whole),
    )
