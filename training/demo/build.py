"""The demo's folder, made from nothing: pictures, tables, captions, two bundles and a request."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from models.captioner.caption import Provenance
from models.captioner.llava import LlavaCaptioner
from models.captioner.presets import PRESETS, TINY
from models.contract import CaptionTokenizer
from models.files import new_folder, write_atomic
from training.captioner.render import render
from training.captioner.scene import Scene
from training.data import tables
from training.data.dataset import Dataset
from training.demo.world import World, draw
from training.lift import LiftReport
from training.recipe import load_recipe
from training.run import Progress, measure_lift, write_bundles

RECIPE = Path(__file__).parents[1] / "recipes" / "demo.yaml"
SIDE = 96
"""Pixels of a picture's side: what the tiny captioner looks at."""
SHOWN = 6
CANDIDATES = 20


@dataclass(frozen=True, slots=True)
class Size:
    """How much is made up."""

    users: int = 400
    items: int = 240
    interactions: int = 24_000


@dataclass(frozen=True, slots=True)
class Made:
    """What was measured on the planted data, beside what was planted, and the ranker's contract."""

    report: LiftReport
    world: World
    contract_digest: str


def build(
    out: Path,
    *,
    created: str,
    git_revision: str,
    seed: int = 1,
    size: Size = Size(),
    recipe: Path = RECIPE,
    say: Callable[[str], None] = lambda text: None,
) -> Made:
    """Make the demo's folder, whole or not at all.

    data/                    interactions.parquet, items.parquet, users.parquet, images/<item>.png
    captions/                captions-0-of-1.parquet: item_id, caption, captioner, prompt, image
    bundles/                 ranker, and ranker-ids without captions
    pictures/                a few of the images
    tokenizer.json           the captions' tokenizer
    request.json             a request that the transformer answers (V1)
    planted.json             what was planted, and what was measured

    Args:
        created: ISO 8601 time with its zone, for the bundles' manifests.
        git_revision: of the code, for the same.

    Raises:
        FileExistsError: `out` exists.
    """
    if out.exists():
        raise FileExistsError(f"{out} exists already; choose another folder or remove it")
    with new_folder(out) as folder:
        world = draw(seed, size.users, size.items, size.interactions)
        say(f"drawing {size.items} pictures")
        dataset = _write_tables(folder / "data", world, seed)
        say("captioning them")
        captions = _caption(dataset, folder / "captions" / "captions-0-of-1.parquet")
        shutil.copyfile(TINY / "tokenizer.json", folder / "tokenizer.json")
        tokenizer = CaptionTokenizer.from_file(folder / "tokenizer.json")
        tokens = dict(zip(captions, tokenizer.encode(list(captions.values())), strict=True))
        measured = measure_lift(load_recipe(recipe), dataset, tokens, tokenizer, on_progress=_teller(say))
        bundles = write_bundles(
            measured,
            folder / "bundles",
            (folder / "tokenizer.json").read_bytes(),
            created=created,
            git_revision=git_revision,
        )
        _write_samples(folder, dataset)
        made = Made(measured.report, world, bundles["ranker"].contract.digest)
        write_atomic(folder / "planted.json", json.dumps(_planted(made), indent=2).encode() + b"\n")
    return made


def _write_tables(folder: Path, world: World, seed: int) -> Dataset:
    """Write the tables as a person would bring their own, and read them as a Job would."""
    with tempfile.TemporaryDirectory() as drawn:
        images = {item: str(_draw(scene, item, seed, Path(drawn))) for item, scene in world.scenes.items()}
        tables.write(world.dataset.with_images(images), folder)
    return tables.read(folder)


def _draw(scene: Scene, item: str, seed: int, folder: Path) -> Path:
    path = folder / f"{item}.png"
    render(scene, seed * 1_000_000 + int(item[1:]), SIDE).save(path, "PNG")
    return path


def _caption(dataset: Dataset, path: Path) -> dict[str, str]:
    """Caption every image by the tiny captioner, in this process, and write what a backfill would write."""
    captioner = LlavaCaptioner.load(PRESETS["tiny"])
    items = dict(zip(dataset.items["item_id"], dataset.items["image"], strict=True))
    images = []
    for place in items.values():
        with Image.open(place) as image:
            images.append(image.convert("RGB"))
    captions = dict(zip(items, (each.text for each in captioner.caption(images)), strict=True))
    digests = [hashlib.sha256(Path(place).read_bytes()).hexdigest() for place in items.values()]
    _write_captions(captions, digests, captioner.provenance, path)
    return captions


def _write_captions(captions: Mapping[str, str], digests: Sequence[str], made_by: Provenance, path: Path) -> None:
    """Without the pictures' places: the folder is moved to where it is used."""
    path.parent.mkdir(parents=True)
    count = len(captions)
    columns = {
        "item_id": list(captions),
        "caption": list(captions.values()),
        "captioner": [made_by.captioner] * count,
        "prompt": [made_by.prompt] * count,
        "image": digests,
    }
    pq.write_table(pa.table({name: pa.array(values, pa.string()) for name, values in columns.items()}), path)


def _write_samples(folder: Path, dataset: Dataset) -> None:
    items = dataset.items["item_id"].tolist()
    (folder / "pictures").mkdir()
    for item in items[:SHOWN]:
        shutil.copyfile(folder / "data" / "images" / f"{item}.png", folder / "pictures" / f"{item}.png")
    instance = {
        "user_id": dataset.users["user_id"].iloc[0],
        "context": {"hour": 20, "weekday": 5},
        "candidates": [{"item_id": item} for item in items[:CANDIDATES]],
    }
    (folder / "request.json").write_text(json.dumps({"instances": [instance]}) + "\n")


def _planted(made: Made) -> dict[str, object]:
    """The truth beside the measurement, on items that are new."""
    truth = made.world.truth
    return {
        "note": "Planted data: pictures, people and tastes are made up. The lift below was put there.",
        "planted": {
            "auc_with_pictures": truth.with_pictures,
            "auc_without_pictures": truth.without_pictures,
            "lift": truth.lift,
        },
        "measured": {split.split: split.lift.model_dump(mode="json") for split in made.report.splits},
        "contract_digest": made.contract_digest,
    }


def _teller(say: Callable[[str], None]) -> Callable[[Progress], None]:
    def told(progress: Progress) -> None:
        if progress.done == int(progress.done):
            say(f"training: {int(progress.done)} of {progress.total} runs")

    return told
