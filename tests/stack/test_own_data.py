"""A team's own data, from tables to a served ranking, by the commands of own-data.md as they are printed there."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pandas as pd
import pytest
from own_tables import PictureServer, picture_server, write

from models.bundle import read_bundle
from serving.items.lmdb_store import LmdbStore
from serving.stack import parts
from serving.stack.errors import StackError
from serving.stack.layout import Layout
from serving.stack.ports import free_ports

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "training" / "data" / "own-data.md"
DEAD, NO_PICTURE, LOST = "2.png", "6.png", "0.png"
pytestmark = pytest.mark.timeout(1500)


@dataclass
class Place:
    """A folder as after `make setup`, with the tables `shop`; what each command of the page ended with."""

    folder: Path
    pictures: PictureServer
    ports: dict[str, str]
    ended: dict[str, subprocess.CompletedProcess[str]]

    def run(self, command: str) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "SIGHTLINE_PORTS": " ".join(f"{n}={p}" for n, p in self.ports.items())}
        environment["SIGHTLINE_PICTURE_HOSTS"] = self.pictures.host
        return subprocess.run(
            ["bash", "-c", command], cwd=self.folder, env=environment, capture_output=True, text=True, check=False
        )

    @property
    def items(self) -> pd.DataFrame:
        return pd.read_parquet(self.folder / "shop" / "items.parquet")

    @property
    def layout(self) -> Layout:
        return Layout((self.folder / ".sightline").resolve())


def commands() -> list[str]:
    (block,) = re.findall(r"```sh\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    return block.splitlines()


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """The page's commands but the last, run in a folder of their own; three pictures cannot be had."""
    folder = tmp_path_factory.mktemp("own")
    (folder / ".venv").symlink_to(Path(sys.prefix))
    with picture_server(folder / "web") as pictures:
        write(folder / "shop", folder / "web", pictures.url)
        pictures.dead.add(DEAD)
        (folder / "web" / NO_PICTURE).write_bytes(b"no picture")
        (folder / "shop" / "images" / LOST).rename(folder / LOST)
        made = Place(folder, pictures, {name: str(port) for name, port in free_ports().as_dict().items()}, {})
        words = commands()
        try:
            for command in words[:-1]:
                made.ended[command.split()[1]] = made.run(command)
            yield made
        finally:
            assert made.run(words[-1]).returncode == 0


def answer(place: Place, items: list[str], user: str = "007") -> dict[str, Any]:
    body = {"instances": [{"user_id": user, "candidates": [{"item_id": item} for item in items]}]}
    url = f"http://127.0.0.1:{place.ports['transformer_http']}/v1/models/ranker:predict"
    response = httpx.post(url, json=body, timeout=60, trust_env=False)
    assert response.status_code == 200, response.text
    found: dict[str, Any] = response.json()["predictions"][0]
    return found


def test_the_page_names_the_commands_of_the_whole_way() -> None:
    assert [command.split()[1] for command in commands()] == ["caption", "train", "up", "rank", "down"]
    assert "training/data/own-data.md" in (ROOT / "README.md").read_text("utf-8")


def test_pictures_that_cannot_be_had_are_listed_and_everything_else_goes_on(place: Place) -> None:
    ended = place.ended["caption"]
    assert ended.returncode == 3, ended.stderr
    assert "Traceback" not in ended.stderr
    failed = pd.read_json(
        place.layout.own.captions / "failed-0-of-1.jsonl", lines=True, dtype=False, convert_dates=False
    )
    named = dict(zip(place.items["image"].fillna("").str.rpartition("/")[2], place.items["item_id"], strict=True))
    reasons = dict(zip(failed["item_id"].astype(str), failed["failure"], strict=True))
    assert set(reasons) == {named[name] for name in (DEAD, NO_PICTURE, LOST)}
    assert "404" in reasons[named[DEAD]]
    assert "is not there" in reasons[named[LOST]]
    with LmdbStore.open(place.layout.own.store, readonly=True) as store:
        rows = {row.item_id: row for row in store.items()}
    assert set(rows) == set(place.items["item_id"])
    assert sum(row.caption is not None for row in rows.values()) == 375 - 3
    assert all("popularity" in row.features and "ctr" not in row.features for row in rows.values())


def test_the_ranker_beats_the_item_mean_and_knows_no_column_that_was_not_declared(place: Place) -> None:
    ended = place.ended["train"]
    assert ended.returncode == 0, ended.stderr
    bundle = read_bundle(place.layout.own.bundles / "ranker")
    for split in bundle.metrics["lift"]["splits"]:
        auc = {row["variant"]: row["auc"] for row in split["rows"]}
        with_captions = next(value for name, value in auc.items() if "with captions" in name)
        assert with_captions > next(value for name, value in auc.items() if "mean" in name) + 0.02, auc
    names = {name for source in ("user", "context", "item") for name in bundle.contract.names(source)}
    assert {"price", "article", "vat", "brand", "new", "segment", "device"} <= names
    assert not {"dwell_seconds", "ctr", "clicked", "customer"} & names
    assert "features of item: " in ended.stderr


def test_the_answers_know_every_item(place: Place) -> None:
    assert place.ended["up"].returncode == 0, place.ended["up"].stderr
    items = [str(item) for item in place.items["item_id"]]
    found = answer(place, items)
    assert found["user_known"]
    assert found["degraded"] == []
    ranking = {entry["item_id"]: entry for entry in found["ranking"]}
    assert set(ranking) == set(items)
    assert {entry["item"] for entry in ranking.values()} == {"known"}
    assert sum(entry["caption"] == "known" for entry in ranking.values()) == 375 - 3
    ranked = place.ended["rank"]
    assert ranked.returncode == 0, ranked.stderr
    assert "sku/12 ä" in ranked.stdout
    assert "unknown" not in ranked.stdout


def test_the_same_command_captions_only_what_was_missing(place: Place) -> None:
    place.pictures.dead.clear()
    (place.folder / LOST).rename(place.folder / "shop" / "images" / LOST)
    ended = place.run(commands()[0].replace("sightline caption", "sightline --json caption"))
    assert ended.returncode == 3, ended.stderr
    done = json.loads(ended.stdout)
    assert (done["captioned"], done["kept"], done["failed"]) == (2, 372, 1)


def test_what_does_not_belong_together_is_refused_before_anything_starts(place: Place) -> None:
    layout = place.layout.own
    parts.verify(layout)
    place.run(f".venv/bin/sightline export {layout.bundles}/ranker {layout.triton} --platform onnxruntime")
    with pytest.raises(StackError, match=r"is for NVIDIA's Triton image .*: (sightline .*)") as refused:
        parts.verify(layout)
    remedy = str(refused.value).rpartition(": ")[2]
    assert place.run(f".venv/bin/{remedy}").returncode == 0
    parts.verify(layout)
    with LmdbStore.open(layout.store) as store:
        origin = store.origin()
        assert origin is not None
        store.set_origin(type(origin)("MovieLens-100K", "sha256:" + "0" * 64))
    with pytest.raises(
        StackError, match=r"holds MovieLens-100K .* its ids may mean other items; train again: sightline"
    ):
        parts.verify(layout)
    other = place.run(commands()[0])
    assert other.returncode == 1
    assert "the item store holds MovieLens-100K" in other.stderr.replace("\n", " ")
    assert "--replace-data" in other.stderr
