"""What commands print: tables and progress for people, one JSON document for machines."""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import orjson
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

_PIPE_WIDTH = 180
"""Columns where there is no terminal to ask."""


@dataclass(frozen=True)
class Output:
    """Standard output carries the answer, standard error the progress; with `json` the answer is one document."""

    json: bool = False

    @property
    def out(self) -> Console:
        """Where answers go."""
        return Console(width=None if sys.stdout.isatty() else _PIPE_WIDTH, highlight=False)

    @property
    def notes(self) -> Console:
        """Where progress and remarks go."""
        return Console(stderr=True, width=None if sys.stderr.isatty() else _PIPE_WIDTH, highlight=False)

    def answer(self, document: Any, table: Table | str | None = None) -> None:
        """Print the document as JSON, or the table that shows the same."""
        if self.json:
            option = orjson.OPT_INDENT_2 | orjson.OPT_SERIALIZE_NUMPY
            self.out.print(orjson.dumps(document, option=option).decode(), markup=False, soft_wrap=True)
        elif table is not None:
            self.out.print(table)

    def say(self, text: str) -> None:
        """A remark for a person."""
        self.notes.print(text, markup=False)

    @contextmanager
    def progress(self) -> Iterator[Progress]:
        """Progress bars on standard error (plain lines are not needed: a bar that cannot be drawn is left out)."""
        columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
        with Progress(*columns, TimeElapsedColumn(), console=self.notes) as bars:
            yield bars

    @contextmanager
    def steps(self) -> Iterator[Callable[[str, int, int], None]]:
        """One bar per named step; the callable takes (step, done, of)."""
        with self.progress() as bars:
            tasks: dict[str, TaskID] = {}

            def report(step: str, done: int, of: int) -> None:
                if step not in tasks:
                    tasks[step] = bars.add_task(step, total=of)
                bars.update(tasks[step], completed=done, total=of)

            yield report


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]], right: Sequence[str] = ()) -> Table:
    """A table of text cells; columns named in `right` are aligned right."""
    result = Table(title=title, title_justify="left", header_style="bold")
    for column in columns:
        result.add_column(column, justify="right" if column in right else "left", overflow="fold")
    for row in rows:
        result.add_row(*(str(cell) for cell in row))
    return result
