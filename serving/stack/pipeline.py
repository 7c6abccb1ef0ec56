"""The offline path on one machine: interactions, posters, captions, trained rankers, Triton's repository."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import training
from models.bundle import Bundle
from models.captioner.presets import TINY
from models.triton.repository import place_model, placed_version
from serving.backfill.catalogue import Catalogue as CaptionedCatalogue
from serving.stack.captioning import tokenizer
from serving.stack.journal import Say
from serving.stack.layout import Layout
from serving.stack.lines import Report
from training.data import movielens, poster_files, splits
from training.data.dataset import Dataset
from training.data.movielens import MovieLens
from training.data.splits import Split
from training.lift import LiftReport
from training.recipe import Recipe
from training.revision import git_revision
from training.run import Progress, train_all, write_bundles

MOVIELENS = "MovieLens-100K"
"""The place of the demo's data, as its item store names it."""
RECIPE = Path(training.__file__).parent / "recipes" / "movielens.yaml"
OWN_RECIPE = "default"
"""The recipe that suits any data set, by its name."""


@dataclass(frozen=True)
class Catalogue:
    """What the demo works on: MovieLens, its rendered posters, and the split that the served ranker is trained on."""

    data: MovieLens
    posters: Mapping[str, Path]
    split: Split


def catalogue(layout: Layout, say: Say, report: Report) -> Catalogue:
    """Fetch the interactions (once) and render the posters (those that are not there).

    Raises:
        FetchError: the interactions can neither be found nor fetched.
    """
    report("fetching the interactions", 0, 1)
    data = movielens.load(layout.data, say)
    report("fetching the interactions", 1, 1)
    report("rendering posters", 0, len(data.films))

    def rendered(done: int, of: int) -> None:
        report("rendering posters", done, of)

    posters = poster_files.render_posters(data.films, layout.posters, progress=rendered, workers=2)
    return Catalogue(data, posters, splits.within_user_time(data.dataset))


def demo_catalogue(source: Catalogue) -> CaptionedCatalogue:
    """The films with their posters, to be captioned."""
    return CaptionedCatalogue.of(pictured(source), source.split, MOVIELENS)


def pictured(source: Catalogue) -> Dataset:
    """The films' data set with the posters as its pictures."""
    return source.data.dataset.with_images({item: str(path) for item, path in source.posters.items()})


def train(
    out: Path,
    dataset: Dataset,
    captions: Mapping[str, str],
    recipe: Recipe,
    created: str,
    report: Report,
    *,
    words: Mapping[str, Sequence[str]] | None = None,
    checkpoints: Path | None = None,
) -> tuple[LiftReport, dict[str, Bundle]]:
    """Train with and without captions, measure the lift, write both bundles into `out`.

    Args:
        captions: texts by item id; an item that is not in it has no caption.
        created: ISO 8601 time with its zone, for the bundles' manifests.
        words: what each item's picture was made from, where that is known.
        checkpoints: a folder for the state of unfinished runs, to go on from.

    Raises:
        TrainingError, ExportError, BundleError: no bundle was replaced.
    """
    pieces = tokenizer()
    tokens = dict(zip(captions, pieces.encode(list(captions.values())), strict=True))

    def told(progress: Progress) -> None:
        report(f"training {progress.total} rankers, percent", round(100 * progress.done / progress.total), 100)

    trained = train_all(recipe, dataset, tokens, pieces, words=words, on_progress=told, checkpoints=checkpoints)
    report("measuring the lift", 0, 1)
    measured = trained.measured()
    report("measuring the lift", 1, 1)
    report("exporting", 0, 1)
    data = (TINY / "tokenizer.json").read_bytes()
    bundles = write_bundles(measured, out, data, created=created, git_revision=git_revision())
    report("exporting", 1, 1)
    return measured.report, bundles


def place(layout: Layout, bundles: Mapping[str, Bundle], report: Report, *, force: bool = False) -> None:
    """Place each bundle as a new version in Triton's repository; the two newest stay. What is placed stays as it is.

    Raises:
        UnfitError: one of the rankers must not be served, and `force` is not given; none was placed. The message has
            the commands that place them nevertheless, after which this goes on.
        RepositoryError: the repository cannot take it.
    """
    missing = {
        name: bundle
        for name, bundle in bundles.items()
        if placed_version(layout.triton / name, bundle, platform="python") is None
    }
    by_hand = [
        layout.command("export", str(bundle.path), str(layout.triton), "--platform", "python", "--replace", "--force")
        for bundle in missing.values()
    ]
    for bundle in missing.values():
        bundle.require_fit(force, remedy=f"serve it nevertheless: {' && '.join(by_hand)}")
    for done, (name, bundle) in enumerate(missing.items()):
        report("filling Triton's repository", done, len(bundles))
        place_model(layout.triton, name, bundle, platform="python", keep=2, replace=True)
    report("filling Triton's repository", len(bundles), len(bundles))
