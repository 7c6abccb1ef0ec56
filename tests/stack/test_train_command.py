"""`sightline train` on tables of one's own, in this process: what is kept, placed and said."""

import json
import shlex
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from models.bundle import UnfitError, read_bundle
from serving.cli.main import app
from serving.stack.layout import Layout
from serving.stack.services import ABLATION, RANKER, bundle_path
from training.data import tables
from training.data.synthetic import generate

RECIPE = """
name: small
ranker: {architecture: dcn, embedding: {size: 4}, deep: [8]}
training: {batch_size: 512, epochs: 1, learning_rate: 0.01, threads: 1}
seeds: [1]
bootstrap: {resamples: 100}
"""
REASON = "the ranker without captions is far below the item mean"


@pytest.fixture
def shop(tmp_path: Path) -> list[str]:
    """The options that name tables without a picture, and a recipe of a second."""
    made = generate(seed=1, users=40, items=30, interactions=1500, lift=0.05)
    tables.write(made.dataset, tmp_path / "shop")
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    return ["--dataset", str(tmp_path / "shop"), "--recipe", str(tmp_path / "recipe.yaml")]


def run(layout: Layout, *words: str) -> Any:
    return CliRunner().invoke(app, ["--root", str(layout.root), *words])


def test_an_unfit_ranker_is_written_and_shown_and_placed_by_force_alone(shop: list[str], tmp_path: Path) -> None:
    """A second of training leaves this one far below the item mean."""
    own = Layout(tmp_path / "state").own
    refused = run(own, "train", *shop)
    assert isinstance(refused.exception, UnfitError), refused.output
    assert str(refused.exception).startswith(f"{bundle_path(own, RANKER)}: {REASON}: AUC 0.")
    assert refused.output.count("far below the item mean") == 1  # without captions it is one ranker
    assert refused.output.count("NOT FIT TO BE SERVED") == 1
    trained = {name: read_bundle(bundle_path(own, name)).id for name in (RANKER, ABLATION)}
    assert not own.triton.exists()
    for each in str(refused.exception).partition("serve it nevertheless: ")[2].split(" && "):
        done = CliRunner().invoke(app, shlex.split(each)[1:])
        assert done.exit_code == 0, done.output
    assert {path.name for path in own.triton.iterdir()} == {RANKER, ABLATION}

    other = Layout(tmp_path / "forced").own
    forced = run(other, "--json", "train", *shop, "--force")
    assert forced.exit_code == 0, forced.output
    assert set(json.loads(forced.stdout)["bundles"]) == set(trained)
    assert (other.triton / RANKER / "1" / "model.onnx").is_file()
    assert read_bundle(bundle_path(other, RANKER)).metrics["unfit"].startswith(REASON)


def test_with_out_nothing_is_placed_and_nothing_is_refused(shop: list[str], tmp_path: Path) -> None:
    own = Layout(tmp_path / "state").own
    done = run(own, "train", *shop, "--out", str(tmp_path / "out"))
    assert done.exit_code == 0, done.output
    assert read_bundle(tmp_path / "out" / RANKER).metrics["unfit"].startswith(REASON)
    assert not own.triton.exists()
