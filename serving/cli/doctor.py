"""`sightline doctor`: what this machine has, what it lacks, and what to do about it."""

import typer
from rich.text import Text

from serving.cli.context import of
from serving.cli.output import table
from serving.stack import checks


def doctor(context: typer.Context) -> None:
    """Check this machine; exit code 1 when something that the demo needs is missing."""
    given = of(context)
    found = checks.all_checks(given.layout)
    marks = {"ok": Text("ok", "green"), "optional": Text("optional", "yellow"), "missing": Text("missing", "red")}
    rows = [(marks[check.state], check.name, check.found, check.advice) for check in found]
    given.output.answer(
        [check.as_dict() for check in found], table("This machine", ("", "what", "found", "what to do"), rows)
    )
    if any(check.state == "missing" for check in found):
        raise typer.Exit(1)
