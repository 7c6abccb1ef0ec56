"""Candidates on a command line: ids between commas, and ids that have commas."""

from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from serving.check.run import Report
from serving.cli import check as check_command
from serving.cli import rank as rank_command
from serving.cli.candidates import candidates
from serving.cli.main import app
from serving.stack import ask


@pytest.mark.parametrize(
    ("items", "item", "expected"),
    [
        ("1, 2,3", None, ("1", "2", "3")),
        (None, ["a,b", " c "], ("a,b", " c ")),
        ("1,2", ["a,b"], ("1", "2", "a,b")),
    ],
)
def test_both_ways_are_taken_together(items: str | None, item: list[str] | None, expected: tuple[str, ...]) -> None:
    assert candidates(items, item) == expected


@pytest.mark.parametrize(
    ("items", "item", "said"),
    [
        (None, None, "give at least one item id"),
        ("", None, "--items '': give at least one item id, none empty"),
        ("1,,2", None, "--items '1,,2': give at least one item id, none empty"),
        ("1", [""], "none empty"),
        ("1,2,1", ["1"], "item id '1' is given 3 times; give each once"),
    ],
)
def test_none_empty_and_double_ones_are_refused(items: str | None, item: list[str] | None, said: str) -> None:
    with pytest.raises(typer.BadParameter, match=said.replace("'", ".")):
        candidates(items, item)


def test_rank_asks_for_an_id_with_a_comma(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[ask.Question] = []

    def over_rest(address: str, model: str, question: ask.Question) -> dict[str, Any]:
        asked.append(question)
        return {"ranking": [], "user_known": True, "degraded": []}

    class State:
        ports = {"transformer_http": 1}  # noqa: RUF012

    monkeypatch.setattr(rank_command, "ready_state", lambda run: State)
    monkeypatch.setattr(ask, "over_rest", over_rest)
    words = ["rank", "--user", "7", "--items", "00012,12.0", "--item", "a,b", "--item", "sku/12 ä"]
    assert CliRunner().invoke(app, words).exit_code == 0
    assert list(asked[0].items) == ["00012", "12.0", "a,b", "sku/12 ä"]


def test_check_asks_for_it_and_says_what_it_waits_for(monkeypatch: pytest.MonkeyPatch) -> None:
    questions = []

    def look(targets: Any, question: Any, patience: Any, *, known: bool) -> Report:
        questions.append(question)
        patience.waiting(["V1 REST", "known"])
        return Report([], question, [], None)

    monkeypatch.setattr(check_command, "look", look)
    words = ["--json", "check", "--transformer-http", "http://x", "--user", "7", "--item", "a,b", "--item", "c"]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    assert questions[0].items == ("a,b", "c")
    lines = [line.partition("] ")[2] for line in done.stderr.splitlines()]
    assert lines[:2] == ["asking the installation", "waiting for: V1 REST, known"]
    assert '"ok": true' in done.stdout
