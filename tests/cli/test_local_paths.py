"""Options that are paths of this machine refuse a URI, and never make a folder `s3:` of it."""

import typing
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from models.local_path import NotLocalError, is_uri, local_path
from serving.cli.local_path import path_option
from serving.cli.main import app
from training import job_arguments

URI = "s3://b/x"
CHECK = ["check", "--transformer-http", "http://127.0.0.1:1", "--user", "1", "--items", "1"]
TRAIN_JOB = ["train", "--recipe", "demo", "--data", "d", "--captions", "none"]


def callbacks(group: typer.Typer) -> Iterator[Callable[..., Any]]:
    yield from (each.callback for each in group.registered_commands if each.callback)
    if group.registered_callback and group.registered_callback.callback:
        yield group.registered_callback.callback
    for each in group.registered_groups:
        assert each.typer_instance is not None
        yield from callbacks(each.typer_instance)


def parts(hint: Any) -> Iterator[Any]:
    yield hint
    for each in typing.get_args(hint):
        yield from parts(each)


def test_every_path_of_every_command_refuses_a_uri() -> None:
    parser = path_option(help="").parser
    found = {}
    for callback in callbacks(app):
        for name, hint in typing.get_type_hints(callback, include_extras=True).items():
            if Path in parts(hint):
                how = [each.parser for each in getattr(hint, "__metadata__", ()) if hasattr(each, "parser")]
                found[f"{callback.__module__}.{callback.__name__} {name}"] = how
    assert len(found) >= 12
    assert [name for name, how in found.items() if how != [parser]] == []


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["train", "--out", URI], "--out"),
        (["train", "--checkpoints", URI], "--checkpoints"),
        (["export", "bundle", URI], "repository"),
        ([*CHECK, "--bundle", URI], "--bundle"),
        (["models", "fetch", "store/ranker/1", "--to", URI], "--to"),
        (["--root", URI, "status"], "--root"),
        (["experiment", "start", URI], "file"),
        (["experiment", "report", "--file", "simplecache::s3://b/x"], "--file"),
        (["experiment", "plan", "--history", URI], "--history"),
    ],
)
def test_the_refusal_names_option_value_and_what_to_do(
    words: list[str], named: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    answer = CliRunner().invoke(app, words)
    said = " ".join(answer.output.replace("│", " ").split())
    assert answer.exit_code == 2, said
    assert f"Invalid value for '{named}'" in said or f"Invalid value for '{named.upper()}'" in said
    assert f"{URI}' is a URI; expected a path of this machine: copy files with the store's own tools" in said
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("words", [["--work", URI, "--out", "o"], ["--work", "w", "--out", URI]])
def test_so_do_the_jobs_options(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        job_arguments.parse([*TRAIN_JOB, *words])
    assert ended.value.code == 2
    named = words[words.index(URI) - 1]
    assert f"argument {named}: '{URI}' is a URI; expected a path of this machine" in capsys.readouterr().err


def test_a_demo_takes_a_recipe_by_name_and_from_a_uri(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from serving.stack import demo
    from training.job_inputs import read_recipe

    taken = []
    monkeypatch.setattr(demo, "run", lambda layout, ports, recipe, say, report: taken.append(recipe))
    monkeypatch.setattr("serving.cli.demo._show", lambda output, result: None)
    file = tmp_path / "mine.yaml"
    file.write_text("name: mine\n")
    for place in ("movielens", f"file://{file}", str(file)):
        assert CliRunner().invoke(app, ["demo", "--recipe", place]).exit_code == 0
    assert [each.name for each in taken] == ["movielens", "mine", "mine"]
    assert CliRunner().invoke(app, ["demo"]).exit_code == 0
    assert taken[-1] == read_recipe("movielens")
    refused = CliRunner().invoke(app, ["demo", "--recipe", "memory://lost.yaml"])
    assert "--recipe memory://lost.yaml: cannot be read" in str(refused.exception)


@pytest.mark.parametrize("path", ["a/b", "./s3://x", "s3:x", "http:/x", "/mnt/s3:/b", "a::b"])
def test_what_only_looks_like_a_uri_is_a_path(path: str) -> None:
    assert not is_uri(path)
    assert local_path(path) == Path(path)


@pytest.mark.parametrize("uri", [URI, "file:///x", "memory://x", "filecache::zip://a::s3://b/x", "gs+x://b"])
def test_uris_are_none(uri: str) -> None:
    with pytest.raises(NotLocalError, match="is a URI; expected a path"):
        local_path(uri)
