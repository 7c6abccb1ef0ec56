"""The jobs `train` and `lift`: what an earlier process of the same run has done is not done again."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from models.bundle import Bundle
from models.store.store import ModelStore
from training.distributed import Group
from training.job_inputs import Inputs
from training.job_message import Message
from training.job_publish import publish_once
from training.job_say import Told
from training.jobs import Crew
from training.lift import Gain, LiftReport
from training.loop import TrainingStoppedError
from training.revision import git_revision, image_revision
from training.run import ABLATION, RANKER, Measured, Trained, train_all, write_bundles
from training.run_folder import RunFolder


@dataclass(frozen=True, slots=True)
class Work:
    """A job at work. `trained` are its training runs where they are done already."""

    arguments: Namespace
    inputs: Inputs
    group: Group
    stop: Callable[[], bool]
    told: Told
    trained: Trained | None = None

    def folder(self) -> RunFolder:
        """Where this run is kept."""
        out = self.arguments.out if self.arguments.job == "train" else None
        return RunFolder.open(self.arguments.work, identity_of(self.inputs), datetime.now(UTC).isoformat(), out)

    def train(self) -> Trained:
        """Train all runs, or take up those that an earlier process has kept.

        Raises:
            TrainingStoppedError: asked to stop; what is done is kept.
            Exception: see `training.run.train_all`.
        """
        inputs = self.inputs
        return train_all(
            inputs.recipe,
            inputs.dataset,
            inputs.captions,
            inputs.tokenizer,
            words=inputs.words,
            on_progress=self.told.progress,
            checkpoints=self.folder().checkpoints if self.group.rank == 0 else None,
            crew=Crew(inputs.recipe.workers, self.stop, self.group),
        )

    def measure(self) -> Measured:
        """Train all runs that are not trained, and measure the lift. Raises what `train` does."""
        measured = (self.trained or self.train()).measured()
        self.folder().keep_report(measured.report)
        return measured

    def may_stop(self, kept: str) -> None:
        """Raise TrainingStoppedError if asked to stop."""
        if self.stop():
            raise TrainingStoppedError(f"stopped; {kept}, and the same command goes on from there")


def identity_of(inputs: Inputs) -> dict[str, Any]:
    """What makes a run the same run: its inputs, and in an image its code (a checkout changes with every edit)."""
    return {**inputs.identity(), "git_revision": image_revision()}


def nothing_to_train(work: Work) -> bool:
    """Whether an earlier process has left all that training gives."""
    folder = work.folder()
    return (folder.written_bundles() if work.arguments.job == "train" else folder.report()) is not None


def lift(work: Work) -> Message:
    """Measure the lift, or take it from an earlier process, and report it. Raises what `Work.train` does."""
    folder = work.folder()
    report = folder.report() or work.measure().report
    _show(work.told, report)
    if work.arguments.out is not None:
        folder.copy_report(report, work.arguments.out)
    return Message(
        "lift",
        "done",
        _sentence(report),
        metrics=_metrics(report),
        lift=_lift(report.splits[0].lift),
        warnings=[*folder.warnings(), *_cut(report)],
    )


def train(work: Work) -> Message:
    """Write both bundles and publish them, if they are not written and published already.

    Raises:
        ExportError, BundleError: no bundle was written.
        UnfitError: the bundles are written, and neither is published: a ranker is far below the item's mean.
        ModelStoreError: not both were published.
        Exception: see `Work.train`.
    """
    folder = work.folder()
    bundles = folder.written_bundles() or _write(work, folder)
    report = LiftReport.model_validate(bundles[RANKER].metrics["lift"])
    _show(work.told, report)
    places = _published(work, bundles)
    if work.arguments.out is not None:
        folder.copy_report(report, work.arguments.out)
    folder.forget_checkpoints()
    return Message(
        "train",
        "done",
        f"{', '.join(places.values())}; {_sentence(report)}",
        bundles=places,
        contract_digest=bundles[RANKER].contract.digest,
        metrics=_metrics(report),
        lift=_lift(report.splits[0].lift),
        warnings=[*folder.warnings(), *_cut(report)],
    )


def _cut(report: LiftReport) -> list[str]:
    """That captions lose their end, where many do."""
    cuts = report.captions_cut
    return [cuts.warning()] if cuts is not None and cuts.loud else []


def _write(work: Work, folder: RunFolder) -> dict[str, Bundle]:
    measured = work.measure()
    work.may_stop("every training run is done")
    data, revision = work.inputs.tokenizer_json, git_revision()
    bundles = write_bundles(measured, folder.bundles, data, created=folder.created, git_revision=revision)
    folder.keep_bundles(bundles)
    return bundles


def _published(work: Work, bundles: dict[str, Bundle]) -> dict[str, str]:
    """Where each bundle is now, by its name in the store; its folder where there is no store."""
    arguments = work.arguments
    names = {RANKER: arguments.name, ABLATION: f"{arguments.name}-ids"}
    if arguments.out_store is None:
        return {names[name]: str(bundle.path.absolute()) for name, bundle in bundles.items()}
    for bundle in bundles.values():
        bundle.require_fit(arguments.force)
    store, places = ModelStore.at(arguments.out_store), {}
    for name, bundle in bundles.items():
        work.may_stop("the bundles are written, not all are published")
        uri, new = publish_once(store, bundle, names[name])
        work.told.say(f"{names[name]} {'published as' if new else 'was published before, as'} {uri}")
        places[names[name]] = uri
    return places


def _show(told: Told, report: LiftReport) -> None:
    for split in report.splits:
        for row in split.rows:
            auc = "none (one class)" if row.auc is None else f"{row.auc:.4f}"
            told.say(f"{split.split}: {row.variant}: AUC {auc}, log loss {row.log_loss:.4f}, seeds {row.seeds}")
        for remark in split.remarks:
            told.say(f"{split.split}: note: {remark}")
    if report.captions_cut is not None:
        told.say(str(report.captions_cut))


def _sentence(report: LiftReport) -> str:
    first = report.splits[0]
    gain = first.lift
    if first.unfit:
        return f"{first.split}: not fit to be served: {'; '.join(dict.fromkeys(first.unfit.values()))}"
    if gain.difference is None or gain.low is None or gain.high is None:
        return f"{first.split}: no lift, the test rows have one class"
    if gain.verdict == "too few to tell":
        return f"{first.split}: lift {gain.difference:+.4f}, too few to tell ({gain.deciding} {first.resampled})"
    return f"{first.split}: lift {gain.difference:+.4f} [{gain.low:+.4f}, {gain.high:+.4f}], {gain.verdict}"


def _lift(gain: Gain) -> dict[str, Any]:
    return {"delta": gain.difference, "low": gain.low, "high": gain.high, "verdict": gain.verdict}


def _metrics(report: LiftReport) -> dict[str, Any]:
    return {
        each.split: {
            "test_rows": each.test_rows,
            "auc_without": each.lift.auc_without,
            "auc_with": each.lift.auc_with,
            **_lift(each.lift),
        }
        for each in report.splits
    }
