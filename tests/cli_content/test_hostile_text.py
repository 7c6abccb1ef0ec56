"""Ids, captions and names of others go through the commands: a terminal gets none of what they would have it do."""

import json
import subprocess
import sys
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from serving.captioner.client import CaptionError, CaptionResult
from serving.cli import caption as caption_command
from serving.cli import rank
from serving.cli.main import app
from serving.cli.output import Output, table
from serving.stack import calls
from serving.stack.ask import Question
from tests.files.test_printable import obeyed

HOSTILE = "x\x1b[2J\r\x9b2J\u202e\u2028=HYPERLINK(1)<script>[bold]b[/bold][/]"
SHOWN = r"x\x1b[2J\x0d\x9b2J\u202e\u2028=HYPERLINK(1)<script>[bold]b[/bold][/]"


@pytest.fixture
def running(monkeypatch):
    """A stack that is said to run."""
    state = SimpleNamespace(ports={"transformer_http": 1, "captioner": 1})
    monkeypatch.setattr(rank, "ready_state", lambda run: state)
    monkeypatch.setattr(caption_command, "ready_state", lambda run: state)


def both(*words):
    """What the command prints for a person and for a machine; nothing in it is obeyed."""
    done = [CliRunner().invoke(app, [*front, *map(str, words)]) for front in ((), ("--json",))]
    for each in done:
        assert obeyed(each.stdout + each.stderr) == [], each.output
    return done


def unfolded(text):
    """A table's text without its frame and folds."""
    return "".join(part for part in text.replace("│", " ").replace("┃", " ").split())


def test_a_ranking_shows_hostile_ids_and_captions(running, monkeypatch):
    entry = {"rank": 1, "item_id": HOSTILE, "score": 0.5, "caption": HOSTILE, "item": True}
    answer = {"ranking": [entry], "user_known": False, "degraded": [HOSTILE]}
    monkeypatch.setattr(rank.ask, "over_rest", lambda *_: answer)
    person, machine = both("rank", "--user", HOSTILE, "--item", HOSTILE)
    assert person.exit_code == machine.exit_code == 0, person.output
    assert unfolded(person.stdout).count(unfolded(SHOWN)) == 3
    assert json.loads(machine.stdout) == answer


def test_captions_and_refusals_of_pictures_are_shown(running, monkeypatch, tmp_path):
    picture = tmp_path / "picture.png"
    picture.write_bytes(b"")
    results = [
        CaptionResult(HOSTILE, HOSTILE, "stop", HOSTILE, "p", purpose=HOSTILE),
        CaptionResult("b", None, None, "c", "p", error=CaptionError("bad", HOSTILE)),
    ]
    monkeypatch.setattr(caption_command.CaptionClient, "caption", lambda *_: results)
    person, machine = both("caption", picture)
    assert unfolded(person.stdout).count(unfolded(SHOWN)) == 3
    assert SHOWN in person.stderr
    assert json.loads(machine.stdout)[0]["text"] == HOSTILE


def test_an_error_with_a_name_in_it_is_shown(tmp_path):
    command = [sys.executable, "-m", "serving.cli.main", "models", "verify", f"{tmp_path}/a\x1b[2Jb\u202e"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert obeyed(done.stderr) == []
    assert r"a\x1b[2Jb\u202e:thereisnosuchentry" in unfolded(done.stderr)


def test_remarks_titles_headings_and_answers_are_text(capsys):
    output = Output()
    output.say(HOSTILE)
    output.answer(None, HOSTILE)
    output.answer(None, table(HOSTILE, (HOSTILE,), [(HOSTILE,)], ()))
    with output.steps() as report:
        report(HOSTILE, 0, 1)
        report(HOSTILE, 1, 1)
    printed = capsys.readouterr()
    assert obeyed(printed.out + printed.err) == []
    assert printed.out.count(SHOWN) == 4
    assert printed.err.count(SHOWN) >= 2


def test_a_calls_text_can_be_pasted_whatever_the_ids_are():
    """A shell and Python get the ids as they are, and run nothing of them."""
    import shlex

    ids = ("it's; touch /tmp/x '\"", "\U0001f600\x1b", '"]); import os #')
    question = Question(ids[0], ids, {"hour": 3})
    words = shlex.split(calls.curl("127.0.0.1:1", "ranker", question).replace("\\\n", ""))
    assert words[:3] == ["curl", "-s", "http://127.0.0.1:1/v1/models/ranker:predict"]
    assert len(words) == 7
    assert json.loads(words[-1]) == question.v1()
    program = calls.python("127.0.0.1:1", "ranker", question)
    lines = {line.split(" = ")[0]: line.split(" = ")[1] for line in program.splitlines() if line.startswith("items")}
    assert tuple(eval(lines["items"], {})) == ids
    compile(program, "call", "exec")
    assert f"[{json.dumps(ids[0], ensure_ascii=False)}]" in program
