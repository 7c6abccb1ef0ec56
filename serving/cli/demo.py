"""`sightline demo`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from serving.cli.context import PortSettings, of
from serving.cli.lift import show_lift
from serving.cli.output import Output, table
from serving.stack.ports import Ports

if TYPE_CHECKING:
    from serving.stack.demo import DemoResult


def demo(
    context: typer.Context,
    port: PortSettings = None,
    recipe: Annotated[
        str | None,
        typer.Option(
            help="A recipe of the project by its name, or a YAML file: path or URI; MovieLens' own if left out."
        ),
    ] = None,
) -> None:
    """Run the whole system once: caption, train with and without captions, serve, rank; then stop and show."""
    from serving.stack import demo as demonstration
    from serving.stack.interrupts import Interrupted
    from serving.stack.pipeline import RECIPE
    from training.job_inputs import read_recipe

    given = of(context)
    ports, chosen = Ports.parse(port or []), read_recipe(recipe or str(RECIPE))
    try:
        with given.output.steps() as report:
            result = demonstration.run(given.layout, ports, chosen, given.output.say, report)
    except Interrupted:
        given.output.say("what was finished is kept; to go on from there: sightline demo, or sightline up")
        raise
    if given.output.json:
        given.output.answer(_document(result))
    else:
        _show(given.output, result)


def _show(output: Output, result: DemoResult) -> None:
    show_lift(output, result.lift)
    for panel in result.panels:
        rows = [
            (r.rank, r.film.title, r.film.caption, f"{r.score:.4f}", f"{r.score_without:.4f}", r.rank_without)
            for r in panel.ranking[:5]
        ]
        columns = ("rank", "film", "caption", "with captions", "without", "rank without")
        right = ("rank", "with captions", "without", "rank without")
        output.out.print(table(f"User {panel.user_id}, the first five", columns, rows, right))
    output.out.print("\nRepeat it (first: make up):\n")
    for text in result.calls.values():
        output.out.print(text + "\n", markup=False, soft_wrap=True)
    for name, log in result.logs.items():
        output.out.print(f"log of {name}: {log}")
    for name, value in result.facts.items():
        output.out.print(f"{name}: {value}", markup=False)
    output.out.print(f"\nThe page: {result.page}", markup=False)


def _document(result: DemoResult) -> dict[str, Any]:
    return {
        "lift": result.prepared.lift.model_dump(mode="json"),
        "rankings": [dict(ranked.answer) for ranked in result.ranked],
        "seconds": dict(result.seconds),
        "facts": dict(result.facts),
        "calls": dict(result.calls),
        "logs": dict(result.logs),
        "page": str(result.page),
    }
