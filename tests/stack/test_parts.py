"""Whose models are served and looked at, what is never overwritten, and what is placed by force alone."""

import json
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from tiny_bundles import tiny_bundle
from typer.testing import CliRunner

from models.bundle import UnfitError
from models.items import ItemRow
from serving.cli.main import app
from serving.items.lmdb_store import LmdbStore
from serving.stack import bench, control, parts, pipeline
from serving.stack.errors import StackError
from serving.stack.layout import Layout
from serving.stack.services import ABLATION, RANKER, bundle_path

OURS, THEIRS = "sha256:" + "a" * 64, "sha256:" + "b" * 64


def run(layout: Layout, *words: str) -> Any:
    return CliRunner().invoke(app, ["--root", str(layout.root), *words])


def typed(command: str) -> None:
    """The printed commands of this program, run as they are."""
    for each in command.split(" && "):
        program, *words = shlex.split(each)
        assert program == "sightline"
        done = CliRunner().invoke(app, words)
        assert done.exit_code == 0, done.output


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    """A state folder with the demo's items and ranker, and a team's own."""
    made = Layout(tmp_path / "state")
    for place, items, digest in ((made, 3, THEIRS), (made.own, 2, OURS)):
        tiny_bundle(bundle_path(place, RANKER), digest=digest)
        with LmdbStore.open(place.store) as store:
            store.put_many([ItemRow(str(item), None, {}) for item in range(items)])
    return made


def test_own_models_are_served_unless_the_demo_is_asked_for(layout: Layout, tmp_path: Path) -> None:
    assert parts.served(layout) == layout.own
    assert parts.served(layout, demo=True) == layout
    assert parts.served(Layout(tmp_path / "new")) == Layout(tmp_path / "new")


@pytest.mark.parametrize("place", ["bundles", "store", "triton"])
def test_any_one_part_of_its_own_makes_it_a_teams(place: str, tmp_path: Path) -> None:
    getattr(Layout(tmp_path).own, place).mkdir(parents=True)
    assert parts.served(Layout(tmp_path)).home == "own"


def test_up_and_bench_take_the_same_places(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[Layout] = []

    def started(place: Layout, *_: Any) -> Any:
        taken.append(place)
        raise StackError("far enough")

    monkeypatch.setattr(control, "up", started)
    monkeypatch.setattr(bench, "run", started)
    for words in (["up"], ["bench"], ["up", "--demo"], ["bench", "--demo"]):
        told = run(layout, *words)
        assert isinstance(told.exception, StackError), told.output
    assert taken == [layout.own, layout.own, layout, layout]
    assert f"models: {layout.bundles}, item store: {layout.store}" in told.stderr.replace("\n", "")


def test_items_stat_and_contract_look_where_up_serves_from_and_say_where(layout: Layout) -> None:
    own, demo = run(layout, "--json", "items", "stat"), run(layout, "--json", "items", "stat", "--demo")
    assert [json.loads(each.stdout)["items"] for each in (own, demo)] == [2, 3]
    assert f"item store: {layout.own.store}" in own.stderr.replace("\n", "")
    assert f"item store: {layout.store}" in demo.stderr.replace("\n", "")
    shown = run(layout, "contract", "show")
    assert shown.exit_code == 0, shown.output
    assert f"bundle: {bundle_path(layout.own, RANKER)}" in shown.stderr.replace("\n", "")
    assert f"bundle: {bundle_path(layout, RANKER)}" in run(layout, "contract", "show", "--demo").stderr.replace(
        "\n", ""
    )
    refused = str(run(layout, "contract", "report").exception)
    assert refused.startswith(f"{bundle_path(layout.own, RANKER)} has no caption feature")


def test_bench_says_what_it_lacks_before_it_measures(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "verify", lambda place: None)
    monkeypatch.setattr(bench.hashing, "measure", lambda: pytest.fail("measured"))
    assert "has no poster to caption; draw them: sightline --root" in str(run(layout, "bench").exception)
    layout.posters.mkdir()
    (layout.posters / "1.png").touch()
    refused = str(run(layout, "bench").exception)
    assert refused.startswith(
        f"the item store {layout.own.store} has 2 items and no user; ranking is measured with 500"
    )
    assert refused.endswith("bench --demo")


def test_the_demo_does_not_overwrite_rankers_of_other_data_and_says_how_they_are_kept(layout: Layout) -> None:
    parts.refuse_own_models(layout, THEIRS)
    before = Layout(layout.root.parent / "before")
    kept = tiny_bundle(bundle_path(before, ABLATION), digest=OURS)
    with pytest.raises(StackError, match="is a ranker of other data than the demo's, which an earlier version") as told:
        parts.refuse_own_models(before, THEIRS)
    subprocess.run(str(told.value).partition("Keep it: ")[2], shell=True, check=True)
    parts.refuse_own_models(before, THEIRS)
    assert parts.served(before) == before.own
    assert parts.read_bundle(bundle_path(before.own, ABLATION)).id == kept.id


def test_an_unfit_ranker_is_placed_by_the_printed_command_after_which_up_goes_on(tmp_path: Path) -> None:
    """`up` and `demo` have no --force: they print the commands that do."""
    layout = Layout(tmp_path / "state folder")
    bundles = {
        RANKER: tiny_bundle(bundle_path(layout, RANKER), unfit="the ranker is far below the item mean"),
        ABLATION: tiny_bundle(bundle_path(layout, ABLATION)),
    }
    steps: list[tuple[str, int, int]] = []

    def place() -> None:
        pipeline.place(layout, bundles, lambda *step: steps.append(step))

    with pytest.raises(UnfitError, match="far below the item mean; look at the columns") as refused:
        place()
    assert not layout.triton.exists()
    command = str(refused.value).partition("serve it nevertheless: ")[2]
    assert command.count(" export ") == 2
    typed(command)
    place()
    assert steps[-1][1:] == (2, 2)
    versions = {name: sorted(each.name for each in (layout.triton / name).iterdir()) for name in bundles}
    assert versions == {name: ["1", "config.pbtxt"] for name in bundles}


def test_what_a_killed_placing_left_is_not_taken_for_placed(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    bundles = {RANKER: tiny_bundle(bundle_path(layout, RANKER))}
    pipeline.place(layout, bundles, lambda *step: None)
    shutil.rmtree(layout.triton / RANKER / "1")  # its config names the bundle already
    pipeline.place(layout, bundles, lambda *step: None)
    assert (layout.triton / RANKER / "1" / "model.onnx").is_file()
