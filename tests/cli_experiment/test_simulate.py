"""`sightline experiment simulate`: what a machine cannot hold is refused before anything starts."""

import re

import pytest
from typer.testing import CliRunner

from serving.cli.main import app


@pytest.mark.parametrize(
    ("option", "value", "expected"),
    [
        ("--seeds", "1001", "less than or equal to 1000"),
        ("--seeds", "-1", "greater than or equal to 0"),
        ("--users", "50001", "less than or equal to 50000"),
        ("--users", "499", "greater than or equal to 500"),
        ("--workers", "65", "less than or equal to 64"),
    ],
)
def test_numbers_beyond_memory_and_time_are_refused_with_the_bound(option: str, value: str, expected: str) -> None:
    result = CliRunner().invoke(app, ["experiment", "simulate", option, value])
    assert result.exit_code == 2
    said = " ".join(re.sub(r"[│╭╮╰╯─]", " ", result.output).split())
    assert f"Invalid value for '{option}': Input should be {expected}" in said
