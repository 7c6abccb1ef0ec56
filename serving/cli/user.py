"""`sightline user`: what is kept of a person, and its end."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Annotated

import typer

from serving.cli.context import Context, of
from serving.cli.output import table

if TYPE_CHECKING:
    from serving.forgetting.outcome import Outcome
    from serving.forgetting.place import Place

app = typer.Typer(no_args_is_help=True, help="Find what is kept of a person, and forget it.")
STILL_THERE = 3
"""Exit code when something of the person is there; 1 when a place could not be asked, or did not do it."""

Users = Annotated[list[str], typer.Argument(metavar="ID...", help="The persons' own ids, as rankings are asked with.")]
Stores = Annotated[
    list[str] | None,
    typer.Option(
        "--store",
        help="Item store, repeated: a folder or redis://host:port/number (user and password by "
        "SIGHTLINE_STORE_USERNAME and _PASSWORD); the state folder's stores if nothing is named.",
    ),
]
Collectors = Annotated[
    list[str] | None,
    typer.Option(
        "--collector",
        help="Collector's base URL, repeated; its token of the right `forget` by SIGHTLINE_COLLECTOR_TOKEN.",
    ),
]
Exposures = Annotated[
    list[str] | None,
    typer.Option(
        "--exposures",
        help="Where transformers leave exposures, repeated: file:///folder or redis://host:port/number?stream=name; "
        "needs SIGHTLINE_PSEUDONYM_KEY.",
    ),
]


@app.command()
def find(
    context: typer.Context,
    users: Users,
    store: Stores = None,
    collector: Collectors = None,
    exposures: Exposures = None,
) -> None:
    """Say what is kept of a person, and where.

    Exit code 0: nothing anywhere; 3: something is there; 1: a place could not be asked. Each secret may be in a file:
    SIGHTLINE_COLLECTOR_TOKEN_FILE and the like.
    """
    from serving.forgetting.outcome import find_in

    given = of(context)
    _tell(given, users, find_in(_places(given, store, collector, exposures), users), (store, collector, exposures))


@app.command()
def forget(
    context: typer.Context,
    users: Users,
    store: Stores = None,
    collector: Collectors = None,
    exposures: Exposures = None,
) -> None:
    """Delete what is kept of a person: rows, events, exposures that wait, names; then look again.

    Exit code 0: all of it is gone; 3: something is there again, events arrive still; 1: a place could not be asked or
    did not do it, and the command must be run again. Each secret may be in a file: SIGHTLINE_COLLECTOR_TOKEN_FILE and
    the like.
    """
    from serving.forgetting.outcome import forget_in

    given = of(context)
    _tell(given, users, forget_in(_places(given, store, collector, exposures), users), (store, collector, exposures))


def _places(
    given: Context, stores: list[str] | None, collectors: list[str] | None, exposures: list[str] | None
) -> list[Place]:
    from serving.forgetting.place import PlaceError
    from serving.forgetting.places import places

    if stores or collectors or exposures:
        return places(stores or [], collectors or [], exposures or [], os.environ)
    here = [home.store for home in (given.layout.demonstration, given.layout.own) if home.store.is_dir()]
    if not here:
        raise PlaceError(
            f"there is no item store in {given.layout.root}; name the places: --store, --collector, --exposures"
        )
    return places([str(each) for each in here], [], [], os.environ)


def _tell(given: Context, users: list[str], outcomes: list[Outcome], named: tuple[list[str] | None, ...]) -> None:
    """Print the answer; raise typer.Exit unless nothing is left anywhere."""
    there = any(each.there is not None and each.there.total for each in outcomes)
    gone = not there and not any(each.fault for each in outcomes)
    skipped = _skipped(named)
    places = [each.document() for each in outcomes]
    document = {"users": users, "gone": gone, "places": places, "not_looked_in": skipped}
    columns = ("place", "removed", "there now", "fault")
    given.output.answer(document, table("", columns, [_row(each) for each in outcomes]))
    if skipped:
        given.output.say(f"not looked in, for none was named: {', '.join(skipped)}")
    given.output.say("never looked in: tables that you train from, what was trained from them, and backups")
    if not gone:
        raise typer.Exit(STILL_THERE if there else 1)


def _row(outcome: Outcome) -> tuple[str, ...]:
    removed = "–" if outcome.removed is None else str(outcome.removed)
    there = "unknown" if outcome.there is None else str(outcome.there)
    return outcome.place, removed, there, outcome.fault


def _skipped(named: tuple[list[str] | None, ...]) -> list[str]:
    """Kinds of places without an address; the state folder's stores are looked in when there is none at all."""
    kinds = ("item store (--store)", "collector (--collector)", "exposures in files or a stream (--exposures)")
    given = named if any(named) else (["the state folder's"], *named[1:])
    return [kind for kind, each in zip(kinds, given, strict=True) if not each]
