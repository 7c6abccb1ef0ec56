"""The demo's folder: what a fresh install serves, made small here."""

import json

import pyarrow.parquet as pq
import pytest
from PIL import Image

from models.bundle import read_bundle
from models.captioner.presets import TINY
from models.contract import CaptionTokenizer
from training.captioner.grammar import caption
from training.data import tables
from training.data.splits import split
from training.demo.__main__ import main
from training.demo.build import RECIPE, SIDE, Size, build
from training.demo.world import draw
from training.recipe import load_recipe
from training.variant import split_contract

SMALL = Size(users=24, items=30, interactions=1200)
RECIPE_TEXT = """
name: demo
ranker: {architecture: dcn, embedding: {size: 4}, deep: [8]}
training: {batch_size: 256, epochs: 2, threads: 1}
caption: {buckets: 500}
seeds: [1]
splits: [{name: within_user}]
bootstrap: {resamples: 100}
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo")
    (folder / "recipe.yaml").write_text(RECIPE_TEXT)
    out = folder / "demo"
    built = build(
        out, created="2026-11-24T10:00:00+00:00", git_revision="0123abc", size=SMALL, recipe=folder / "recipe.yaml"
    )
    return out, built


def test_the_folder_holds_what_the_images_carry(made):
    out, _ = made
    assert sorted(each.name for each in out.iterdir()) == [
        "bundles",
        "captions",
        "data",
        "pictures",
        "planted.json",
        "request.json",
        "tokenizer.json",
    ]
    assert (out / "tokenizer.json").read_bytes() == (TINY / "tokenizer.json").read_bytes()
    assert len(list((out / "data" / "images").glob("i*.png"))) == SMALL.items
    for picture in (out / "pictures").glob("*.png"):
        assert picture.read_bytes() == (out / "data" / "images" / picture.name).read_bytes()
        with Image.open(picture) as image:
            assert image.size == (SIDE, SIDE)


def test_the_bundles_are_whole_and_of_the_data_beside_them(made):
    out, built = made
    ranker, ids = read_bundle(out / "bundles" / "ranker"), read_bundle(out / "bundles" / "ranker-ids")
    assert ranker.contract.digest == built.contract_digest
    assert ids.contract.digest == ranker.contract.without_caption().digest
    assert ranker.manifest.data_digest == tables.read(out / "data").digest
    assert (ranker.manifest.created, ranker.manifest.git_revision) == ("2026-11-24T10:00:00+00:00", "0123abc")


def test_captions_were_read_off_the_pictures_and_name_their_maker(made):
    out, built = made
    table = pq.read_table(out / "captions" / "captions-0-of-1.parquet")
    assert table.column_names == ["item_id", "caption", "captioner", "prompt", "image"]
    rows = table.to_pylist()
    assert [row["item_id"] for row in rows] == list(built.world.scenes)
    assert {row["captioner"].partition("@")[0] for row in rows} == {"tiny"}
    right = sum(row["caption"] == caption(built.world.scenes[row["item_id"]]) for row in rows)
    assert 0.5 * len(rows) < right <= len(rows)


def test_the_request_asks_for_people_and_items_that_exist(made):
    out, _ = made
    (instance,) = json.loads((out / "request.json").read_text())["instances"]
    dataset = tables.read(out / "data")
    assert instance["user_id"] == "u0001"
    assert instance["user_id"] in set(dataset.users["user_id"])
    candidates = [each["item_id"] for each in instance["candidates"]]
    assert candidates == [f"i{number:04d}" for number in range(1, 21)]
    assert set(candidates) <= set(dataset.items["item_id"])


def test_what_was_planted_stands_beside_what_was_measured(made):
    out, built = made
    planted = json.loads((out / "planted.json").read_text())
    assert planted["planted"]["lift"] == pytest.approx(built.world.truth.lift)
    assert planted["measured"]["within_user"]["difference"] == built.report.splits[0].lift.difference
    assert "made up" in planted["note"]


def test_the_contract_of_the_whole_demo_is_the_same_on_every_machine():
    size, recipe = Size(), load_recipe(RECIPE)
    dataset = draw(1, size.users, size.items, size.interactions).dataset
    tokenizer = CaptionTokenizer.from_file(TINY / "tokenizer.json")
    contract = split_contract(recipe, dataset, split(dataset, recipe.splits[0].name), tokenizer)
    assert contract.digest == "sha256:f2d826fd262f772feb8160f948974e1c5a2c201cb9f2b279d14a5b5e1586c6e3"


def test_a_folder_that_exists_is_refused_before_any_work(tmp_path, capsys):
    assert main(["--out", str(tmp_path)]) == 1
    assert "exists already" in capsys.readouterr().err
