"""The candidates of a ranking on a command line: ids between commas, and one at a time where an id has a comma."""

from collections import Counter
from typing import Annotated

import typer

Items = Annotated[
    str | None, typer.Option(help="Candidate item ids, separated by commas; --item for an id that has one.")
]
Item = Annotated[
    list[str] | None,
    typer.Option("--item", help="A candidate's item id, taken as it is, commas and spaces too; repeatable."),
]


def candidates(items: str | None, item: list[str] | None) -> tuple[str, ...]:
    """The ids of `--items`, without the spaces around them, then those of `--item`.

    Raises:
        BadParameter: there is none, one is empty, or one is given twice.
    """
    between = () if items is None else tuple(each.strip() for each in items.split(","))
    found = (*between, *(item or ()))
    if not found or "" in found:
        raise typer.BadParameter(
            f"--items {items or ''!r}: give at least one item id, none empty, separated by commas, or --item ID each"
        )
    if twice := [each for each, count in Counter(found).items() if count > 1]:
        raise typer.BadParameter(f"item id {twice[0]!r} is given {Counter(found)[twice[0]]} times; give each once")
    return found
