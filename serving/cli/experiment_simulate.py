"""`sightline experiment simulate`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from serving.cli.context import of
from serving.cli.output import Output, table

if TYPE_CHECKING:
    from serving.replay.demonstration import Demonstration

MOST_SEEDS = 1000
"""Of six stories, some 10 s of a core each: hours; each ending is kept until the page is written (30 kB)."""
MOST_USERS = 50_000
"""Their visits are held in memory, 25 kB a user, and each of the 600,000 is a request to real servers."""
MOST_WORKERS = 64


def simulate(
    context: typer.Context,
    story: Annotated[
        list[str] | None, typer.Option("--story", help="Only this story, repeatable; all six if left out.")
    ] = None,
    seeds: Annotated[
        int, typer.Option(min=0, max=MOST_SEEDS, help="Crowds that each story is also told with, by score table.")
    ] = 20,
    users: Annotated[
        int, typer.Option(min=500, max=MOST_USERS, help="Users of a story told with real servers.")
    ] = 1500,
    workers: Annotated[int, typer.Option(min=1, max=MOST_WORKERS, help="Processes for the score tables.")] = 2,
) -> None:
    """Replay six experiments whose truth is known, with real servers and the controller's code; write their reports."""
    from serving.replay.demonstration import demonstrate
    from serving.replay.story import STORIES
    from serving.replay.story import story as named

    given = of(context)
    try:
        chosen = [named(each) for each in story] if story else list(STORIES)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--story") from error
    folder = given.layout.root / "experiments"
    with given.output.steps() as report:
        told = demonstrate(
            folder, chosen, seeds=seeds, users=users, workers=workers, say=given.output.say, report=report
        )
    if given.output.json:
        given.output.answer(_document(told))
    else:
        _show(given.output, told)
    if told.failures:
        given.output.say(f"not as it must be: {', '.join(told.failures)}")
        sys.exit(1)


def _show(output: Output, told: Demonstration) -> None:
    columns = ("story", "planted", "ended", "candidate over stable", "day", "failed over", "unanswered")
    rows = [
        (
            row.story.title,
            row.story.truth,
            f"{row.telling.state.phase}: {row.telling.state.reason}",
            row.interval,
            f"{row.telling.days:.1f}",
            row.telling.broken,
            row.telling.unanswered,
        )
        for row in told.live
    ]
    right = ("day", "failed over", "unanswered")
    output.out.print(table("With real servers: Triton twice, transformer, collector", columns, rows, right))
    if told.rehearsed:
        headings = ("story", "as it must", "ends", "days", "hours to rollback", "failed over, at most")
        many = [
            (
                row.story.title,
                f"{row.as_it_must} of {row.count}",
                row.ended,
                f"{row.median_days:.1f}",
                "" if row.median_hours_to_rollback is None else f"{row.median_hours_to_rollback:.1f}",
                row.most_broken,
            )
            for row in told.rehearsed
        ]
        title = "By score table, with many crowds (medians)"
        output.out.print(table(title, headings, many, ("as it must", *headings[3:])))
    output.out.print(f"\nThe page, with a report of each: {told.page}", markup=False)


def _document(told: Demonstration) -> dict[str, Any]:
    return {
        "page": str(told.page),
        "live": [
            {
                "story": row.story.name,
                "as_it_must": row.as_it_must,
                "phase": str(row.telling.state.phase),
                "reason": row.telling.state.reason,
                "lift": None if row.lift is None else row.lift.model_dump(mode="json"),
                "days": row.telling.days,
                "rankings": row.telling.rankings,
                "failed_over": row.telling.broken,
                "unanswered": row.telling.unanswered,
            }
            for row in told.live
        ],
        "rehearsed": [
            {
                "story": row.story.name,
                "within": row.within,
                "count": row.count,
                "as_it_must": row.as_it_must,
                "ends": dict(row.ends),
                "median_days": row.median_days,
                "median_hours_to_rollback": row.median_hours_to_rollback,
                "most_failed_over": row.most_broken,
            }
            for row in told.rehearsed
        ],
    }
