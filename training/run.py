"""A whole recipe: every split, variant and seed, the lift, and the two bundles that are served.

The bundles are the first seed's models of the first split: `ranker` with captions and `ranker-ids`, its ablation.
They are exactly what the report measured, trained on the split's training rows and not once more on all rows, so
that the figures in metrics.json are those of the file beside it.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from models.bundle import UNFIT, Bundle, Provenance, write_bundle
from models.contract import CaptionTokenizer
from models.contract.cuts import CaptionCuts, caption_cuts
from models.contract.tokens import TokenRows
from models.export.onnx import check_parity, export_onnx
from models.files import temporary_prefix
from training import lift
from training.checkpoint import is_finished
from training.data.dataset import Dataset
from training.folds import Fold, folds
from training.jobs import Crew, Job, run_jobs
from training.lift import LiftReport, Scored, SplitReport
from training.loop import Epoch
from training.recipe import Recipe, SplitChoice
from training.rows import Tokens
from training.variant import TrainResult

RANKER, ABLATION = "ranker", "ranker-ids"
_VARIANTS = {RANKER: lift.WITH, ABLATION: lift.WITHOUT}
Words = Mapping[str, Sequence[str]]


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


@dataclass(frozen=True, slots=True)
class Trained:
    """All training runs of a recipe, done."""

    recipe: Recipe
    data_digest: str
    captions_cut: CaptionCuts
    folds: Sequence[Fold]
    results: Sequence[TrainResult]

    def measured(self) -> Measured:
        """What the runs show on their test rows."""
        recipe = self.recipe
        report = LiftReport(
            recipe=recipe.name,
            data_digest=self.data_digest,
            seeds=recipe.seeds,
            level=recipe.bootstrap.level,
            resamples=recipe.bootstrap.resamples,
            cold_below=recipe.cold_below,
            splits=tuple(_reports(recipe, self.folds, self.results)),
            captions_cut=self.captions_cut,
        )
        first = self.folds[0].by_variant(self.results[: len(self.folds[0].jobs)])
        return Measured(report, {RANKER: first[lift.WITH][0], ABLATION: first[lift.WITHOUT][0]})


def measure_lift(
    recipe: Recipe,
    dataset: Dataset,
    captions: Tokens,
    tokenizer: CaptionTokenizer,
    *,
    words: Words | None = None,
    on_progress: Callable[[Progress], None] = lambda progress: None,
    checkpoints: Path | None = None,
) -> Measured:
    """Train and measure everything that the recipe names; see `train_all`."""
    trained = train_all(
        recipe, dataset, captions, tokenizer, words=words, on_progress=on_progress, checkpoints=checkpoints
    )
    return trained.measured()


def train_all(
    recipe: Recipe,
    dataset: Dataset,
    captions: Tokens,
    tokenizer: CaptionTokenizer,
    *,
    words: Words | None = None,
    on_progress: Callable[[Progress], None] = lambda progress: None,
    checkpoints: Path | None = None,
    crew: Crew | None = None,
) -> Trained:
    """Train every variant, seed and fold that the recipe names.

    Args:
        captions: token ids by item id, made by `tokenizer`; items that are not in it have no caption.
        words: what each item's picture was made from, where that is known; without it there is no reference line.
        checkpoints: a folder for the state of runs; a second call with the same arguments goes on from it, and takes
            finished runs as they are.
        crew: who trains; the recipe's `workers` if None.

    Raises:
        SplitError, RecipeError: the data cannot be parted, or not hidden, as the recipe asks.
        TrainingError, TrainingStoppedError, CheckpointError, RankError, RankLostError: see `training.jobs.run_jobs`.
    """
    every = folds(recipe, dataset, captions, tokenizer, words, checkpoints)
    jobs = [job for fold in every for job in fold.jobs]
    crew = crew or Crew(recipe.workers)
    kept = 0 if crew.group.rank else sum(is_finished(job.checkpoint) for job in jobs)
    counter = _Counter(len(jobs), kept, on_progress)
    results = run_jobs(jobs, crew, counter.epoch, counter.finish)
    rows = TokenRows.of([np.asarray(captions[item]) for item in dataset.items["item_id"] if item in captions])
    cut = caption_cuts(rows, recipe.caption.max_tokens, tokenizer.word_starts())
    return Trained(recipe, dataset.digest, cut, every, results)


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
    out_dir.mkdir(parents=True, exist_ok=True)
    unfit = measured.report.splits[0].unfit
    for name, result in measured.served.items():
        with tempfile.TemporaryDirectory(dir=out_dir, prefix=temporary_prefix("export")) as folder:
            onnx_path = Path(folder) / "model.onnx"
            export_onnx(result.model, result.contract, onnx_path)
            parity = check_parity(result.model, onnx_path, result.contract)
            bundles[name] = write_bundle(
                out_dir / name,
                onnx_path=onnx_path,
                contract=result.contract,
                tokenizer=tokenizer if result.contract.caption else None,
                metrics={
                    **_metrics(result),
                    "parity": parity,
                    UNFIT: unfit.get(_VARIANTS[name]),
                    "lift": measured.report.model_dump(mode="json"),
                },
                provenance=Provenance(
                    name=name, created=created, git_revision=git_revision, data_digest=measured.report.data_digest
                ),
            )
    return bundles


def _metrics(result: TrainResult) -> dict[str, Any]:
    fitted = result.fitted
    return {"epochs": fitted.epochs, "best_epoch": fitted.best_epoch, "valid_auc": fitted.valid_auc}


class _Counter:
    """Counts finished training runs and tells; `kept` are finished before, and come by again without being trained."""

    def __init__(self, total: int, kept: int, tell: Callable[[Progress], None]) -> None:
        self._total, self._kept, self._tell, self._done = total, kept, tell, 0
        tell(Progress(kept, total, "training"))

    def epoch(self, job: Job, epoch: Epoch) -> None:
        self._say(self._done + min(0.95, epoch.number / epoch.epochs), job)

    def finish(self, job: Job) -> None:
        self._done += 1
        self._say(self._done, job)

    def _say(self, done: float, job: Job) -> None:
        self._tell(Progress(max(done, self._kept), self._total, job.label))


def _reports(recipe: Recipe, folds: Sequence[Fold], results: Sequence[TrainResult]) -> Iterator[SplitReport]:
    """A report per split, the test rows of its folds put together."""
    at = 0
    for choice in recipe.splits:
        mine = [fold for fold in folds if fold.choice is choice]
        scored = []
        for fold in mine:
            scored.append(fold.scored(results[at : at + len(fold.jobs)]))
            at += len(fold.jobs)
        sizes = [sum(sizes) for sizes in zip(*(f.sizes for f in mine), strict=True)]
        remarks = [fold.parts.remark for fold in mine if fold.parts.remark]
        yield _report(recipe, choice, Scored.joined(scored), sizes, remarks)


def _report(
    recipe: Recipe, choice: SplitChoice, rows: Scored, sizes: Sequence[int], remarks: Sequence[str]
) -> SplitReport:
    resampled: lift.Cluster = "items" if choice.name == "new_items" else "users"
    whole = lift.gain(rows, resampled, recipe.bootstrap)
    reference = None
    if lift.REFERENCE in rows.scores:
        reference = lift.gain(rows, resampled, recipe.bootstrap, variant=lift.REFERENCE)
    standings = lift.beside_baselines(rows, resampled, recipe.bootstrap)
    unfit = lift.unfit_rankers(rows, standings)
    below = [str(each) for each in standings if each.verdict == "lower"]
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
        standings=standings,
        remarks=tuple(dict.fromkeys([*unfit.values(), *below, *remarks])),
        unfit=unfit,
    )
