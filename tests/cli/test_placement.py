"""Options where people put them: before the command, after it, or at the wrong command."""

import pytest
import typer.main

from serving.cli.main import app
from serving.cli.placement import MisplacedOptionError, leaves, placed

ROOT = typer.main.get_command(app)


@pytest.mark.parametrize(
    ("given", "understood"),
    [
        ("rank --user 1 --items 2 --json", "--json rank --user 1 --items 2"),
        ("rank --json --user 1 --root /x --items 2", "--json --root /x rank --user 1 --items 2"),
        ("--json status", "--json status"),
        ("models list --store s3://a/b --root=/x", "--root=/x models list --store s3://a/b"),
        ("experiment --json status", "--json experiment status"),
        ("experiment abort shop --reason --json", "experiment abort shop --reason --json"),
        ("caption a.png -- --json", "caption a.png -- --json"),
        ("job logs -f train-1 --json", "--json job logs -f train-1"),
        ("", ""),
        ("rnak --json", "rnak --json"),
    ],
)
def test_options_of_every_command_are_taken_before_and_after_its_name(given: str, understood: str) -> None:
    assert placed(ROOT, given.split()) == understood.split()


@pytest.mark.parametrize(
    ("given", "right"),
    [
        ("--user 5 rank --items 2", "belongs after its name: sightline rank --user 5 --items 2"),
        ("--port captioner=9001 up", "belongs after its name: sightline up --port captioner=9001"),
        ("--json --port a=1 up", "sightline --json up --port a=1"),
        ("models --store x list", "belongs after its name: sightline models list --store x"),
        ("status --store x", "sightline status has no option --store; it belongs to: .*sightline models publish"),
        ("rank --recipe x", "sightline rank has no option --recipe; it belongs to: .*sightline demo"),
    ],
)
def test_a_misplaced_option_is_answered_with_its_place(given: str, right: str) -> None:
    with pytest.raises(MisplacedOptionError, match=right):
        placed(ROOT, given.split())


def test_a_misspelt_option_is_left_to_the_parser_which_knows_what_is_like_it() -> None:
    assert placed(ROOT, ["rank", "--usr", "5"]) == ["rank", "--usr", "5"]


def test_every_command_takes_json_after_its_name() -> None:
    found = [name.split()[1:] for name, _ in leaves(ROOT)]
    assert len(found) >= 30
    assert [name for name in found if placed(ROOT, [*name, "--json"]) != ["--json", *name]] == []
