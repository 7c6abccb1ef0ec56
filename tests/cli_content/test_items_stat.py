"""`sightline items stat`: what the store holds, and what a contract leaves of it."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from models.captioner.presets import TINY
from models.contract import CaptionTokenizer
from models.items import ItemRow, StoredCaption
from serving.cli.main import app
from serving.items.lmdb_store import LmdbStore

TOKENIZER = CaptionTokenizer.from_file(TINY / "tokenizer.json")
LONG = (
    "an extraordinarily detailed photograph of several weathered fishermen mending their nets beside a harbour wall "
    "while seagulls circle overhead at dusk"
)


def caption(text: str, captioner: str, tokenizer: str = TOKENIZER.sha256) -> StoredCaption:
    return StoredCaption(text, TOKENIZER.encode([text])[0], tokenizer, captioner, "what?")


@pytest.fixture
def store(tmp_path: Path) -> str:
    with LmdbStore.open(tmp_path / "store") as opened:
        rows = [ItemRow(f"short{i}", caption("a red house", "tiny@1"), {}) for i in range(6)]
        rows += [ItemRow(f"long{i}", caption(LONG, "llava@2"), {}) for i in range(3)]
        rows += [ItemRow("other", caption(LONG, "llava@3", "f" * 64), {}), ItemRow("none", None, {})]
        opened.put_many(rows)
    return str(tmp_path / "store")


def test_rows_captions_and_cuts_are_told_by_captioner_and_tokenizer(store: str, tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["--json", "--root", str(tmp_path / "root"), "items", "stat", "--store", store])
    assert done.exit_code == 0, done.output
    answer = json.loads(done.stdout)
    assert (answer["items"], answer["captioned"], answer["without_caption"]) == (11, 10, 1)
    made = {each["captioner"]: each for each in answer["captions"]}
    assert {name: (each["captions"], each["cut"], each["share"]) for name, each in made.items()} == {
        "tiny@1": (6, 0, 0.0),
        "llava@2": (3, 3, 1.0),
        "llava@3": (1, 1, 1.0),
    }
    assert made["llava@2"]["words"] == len(LONG.split())
    assert 1 < made["llava@2"]["first_lost_word"]["median"] < len(LONG.split())
    assert made["llava@3"]["first_lost_word"] is None  # of a tokenizer that is not at hand
    needed = made["llava@2"]["tokens_needed"]
    assert f"max_tokens: {needed}" in done.stderr
    assert "llava@2" in done.stderr
    assert "tiny@1" not in done.stderr


def test_the_remedy_works_as_printed(store: str, tmp_path: Path) -> None:
    needed = str(len(TOKENIZER.encode([LONG])[0]))
    words = ["--root", str(tmp_path / "root"), "items", "stat", "--store", store, "--max-tokens", needed]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    assert "warning" not in done.output
    assert f"cut at {needed} tokens" in done.stdout
