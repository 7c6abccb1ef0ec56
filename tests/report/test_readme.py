"""What the READMEs say is what there is."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry
from starlette.routing import Route
from typer.main import get_command

from serving.cli.experiment import app
from serving.rollout.report.resource import Resource
from serving.rollout.verdict import run
from serving.rollout.verdict.app import asgi
from serving.rollout.verdict.faults import VerdictError

ROLLOUT = Path(__file__).parents[2] / "serving" / "rollout"


class Nothing:
    """Experiments that are never asked for."""

    def find(self, namespace: str, name: str) -> Resource:
        raise AssertionError(f"{name} in {namespace} was asked for")

    def reach(self) -> None:
        raise AssertionError("it was reached for")


def readme(package: str) -> str:
    return (ROLLOUT / package / "README.md").read_text()


def rows(text: str, heading: str) -> list[str]:
    """First cells of the table under that heading row."""
    lines = text[text.index(heading) :].splitlines()[2:]
    end = next((number for number, line in enumerate(lines) if not line.startswith("|")), len(lines))
    return [line.split("|")[1] for line in lines[:end]]


def test_the_reports_files_are_those_in_the_table() -> None:
    named = {name for cell in rows(readme("report"), "| file |") for name in re.findall(r"`([\w.]+)`", cell)}
    there = {path.name for path in (ROLLOUT / "report").iterdir() if path.suffix in (".py", ".j2")}
    assert named == there - {"__init__.py"}


def test_the_commands_are_those_of_the_command_line() -> None:
    group = get_command(app)
    named = {name for cell in rows(readme("report"), "| `sightline experiment") for name in re.findall(r"`(\w+)", cell)}
    assert named - {"NAME"} == set(group.commands) | {"simulate"}  # type: ignore[attr-defined]


def test_options_that_the_readme_names_exist() -> None:
    group = get_command(app)
    options = {
        option
        for command in group.commands.values()
        for each in command.params
        for option in each.opts  # type: ignore[attr-defined]
    }
    named = set(re.findall(r"(?<!-)(--[a-z][a-z-]+)", readme("report"))) - {"--json"}
    assert len(named) > 8
    assert named <= options | {"--namespace"}


def test_the_verdicts_routes_are_those_in_the_table() -> None:
    named = {
        path.split("?")[0]
        for cell in rows(readme("verdict"), "| route |")
        for path in re.findall(r"(?:GET|POST) (\S+?)`", cell)
    }
    routes = asgi(Nothing(), CollectorRegistry()).routes
    assert named == {route.path for route in routes if isinstance(route, Route)}


def test_the_verdicts_refusals_are_those_in_the_table() -> None:
    statuses = [int(line.split("|")[2]) for line in readme("verdict").splitlines() if re.search(r"\| \d{3} \|$", line)]
    assert sorted(statuses) == sorted(each.status for each in VerdictError.__subclasses__())


@pytest.mark.parametrize(("option", "default"), [("host", "0.0.0.0"), ("port", 8097), ("context", None)])
def test_the_verdicts_defaults_are_those_in_the_table(option: str, default: object) -> None:
    assert getattr(run._options().parse_args([]), option) == default
    (row,) = [line for line in readme("verdict").splitlines() if line.startswith(f"| `--{option}`")]
    assert str(default) in row or (default is None and "the current one" in row)
