"""The lift on a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from serving.cli.output import Output, table

if TYPE_CHECKING:
    from serving.stack.lift_view import SplitView


def show_lift(output: Output, views: Sequence[SplitView]) -> None:
    """Print the table of each split, its verdict and its slices."""
    for view in views:
        rows = [(row.name, *row.cells) for row in view.rows]
        output.out.print(table(view.title, ("ranker", *view.columns), rows, view.columns))
        output.out.print(view.verdict, markup=False)
        for line in view.slices:
            output.out.print(f"  {line}", markup=False)
        for line in view.remarks:
            output.out.print(line, style="bold red", markup=False)
        output.out.print()
