"""The offline path on one machine: interactions, posters, captions, trained rankers, Triton's repository."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import training
from models.bundle import Bundle
from models.captioner.presets import TINY
from models.contract import CaptionTokenizer
from models.items import StoredCaption, UserRow
from models.triton.repository import place_model
from serving.captioner.client import CaptionClient
from serving.items.lmdb_store import LmdbStore
from serving.stack.captioning import Captioned, caption_items
from serving.stack.layout import Layout
from training.data import features, movielens, poster_files, splits
from training.data.dataset import Dataset
from training.data.movielens import MovieLens
from training.data.splits import Split
from training.lift import LiftReport
from training.recipe import Recipe
from training.revision import git_revision
from training.run import Progress, measure_lift, write_bundles

Report = Callable[[str, int, int], None]
"""Takes (step, done, of)."""
Say = Callable[[str], None]
"""Takes a remark for a person."""

RECIPE = Path(training.__file__).parent / "recipes" / "movielens.yaml"


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
    data = movielens.load(layout.data, say)

    def rendered(done: int, of: int) -> None:
        report("rendering posters", done, of)

    posters = poster_files.render_posters(data.films, layout.posters, progress=rendered, workers=2)
    return Catalogue(data, posters, splits.within_user_time(data.dataset))


def tokenizer() -> CaptionTokenizer:
    """The caption tokenizer of the demo's contract: the tiny captioner's."""
    return CaptionTokenizer.from_file(TINY / "tokenizer.json")


def caption(
    store_path: Path, url: str, dataset: Dataset, split: Split, images: Mapping[str, str], report: Report
) -> Captioned:
    """Send every image to the captioner at `url`; write items and users into the item store.

    Args:
        images: item id to a path or an address that fsspec opens.
        split: its training rows give the counts that are stored as features.

    Raises:
        CaptionerUnreachableError: the captioner does not answer.
        ItemStoreError: the store cannot be written.
    """

    def captioned(done: int, of: int) -> None:
        report("captioning", done, of)

    with LmdbStore.open(store_path) as store:
        rows = features.item_rows(dataset, split)
        done = caption_items(CaptionClient(url), images, tokenizer(), store, rows, captioned)
        store.put_users(UserRow(user, values) for user, values in features.user_rows(dataset, split).items())
    return done


def train(
    out: Path,
    dataset: Dataset,
    captions: Mapping[str, StoredCaption],
    recipe: Recipe,
    created: str,
    report: Report,
    *,
    words: Mapping[str, Sequence[str]] | None = None,
    checkpoints: Path | None = None,
) -> tuple[LiftReport, dict[str, Bundle]]:
    """Train with and without captions, measure the lift, write both bundles into `out`.

    Args:
        created: ISO 8601 time with its zone, for the bundles' manifests.
        words: what each item's picture was made from, where that is known.
        checkpoints: a folder for the state of unfinished runs, to go on from.

    Raises:
        TrainingError, ExportError, BundleError: no bundle was replaced.
    """
    tokens = {item: caption.tokens for item, caption in captions.items()}

    def told(progress: Progress) -> None:
        report("training", round(100 * progress.done), 100 * progress.total)

    measured = measure_lift(
        recipe, dataset, tokens, tokenizer(), words=words, on_progress=told, checkpoints=checkpoints
    )
    data = (TINY / "tokenizer.json").read_bytes()
    bundles = write_bundles(measured, out, data, created=created, git_revision=git_revision())
    return measured.report, bundles


def place(layout: Layout, bundles: Mapping[str, Bundle]) -> None:
    """Place each bundle as a new version in Triton's repository; the two newest stay.

    Raises:
        RepositoryError: the repository cannot take it.
    """
    for name, bundle in bundles.items():
        place_model(layout.triton, name, bundle, platform="python", keep=2, replace=True)
