"""What commands print: tables and progress for people, one JSON document for machines."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import orjson
from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from models.printable import printable, printable_json
from serving.cli.progress import bars
from serving.stack.lines import Report, plain

_PIPE_WIDTH = 180
"""Columns where there is no terminal to ask."""


class PrintableConsole(Console):
    """A console on which foreign text is shown and never obeyed: only Rich's own styles and controls get through."""

    def print(self, *objects: Any, **options: Any) -> None:
        """Rich's, which would take some control characters out of a text in silence."""
        super().print(*(printable(each, lines=True) if isinstance(each, str) else each for each in objects), **options)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterator[Segment]:
        """The segments of what is printed, their text made printable; line feeds and tabs stay."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else segment._replace(text=printable(segment.text, lines=True))


@dataclass(frozen=True)
class Output:
    """Standard output carries the answer, standard error the progress; with `json` the answer is one document."""

    json: bool = False

    @property
    def out(self) -> Console:
        """Where answers go."""
        return PrintableConsole(width=None if sys.stdout.isatty() else _PIPE_WIDTH, highlight=False)

    @property
    def notes(self) -> Console:
        """Where progress and remarks go."""
        return PrintableConsole(stderr=True, width=None if sys.stderr.isatty() else _PIPE_WIDTH, highlight=False)

    def answer(self, document: Any, table: Table | str | None = None) -> None:
        """Print the document as JSON, or the table that shows the same."""
        if self.json:
            option = orjson.OPT_INDENT_2 | orjson.OPT_SERIALIZE_NUMPY
            text = printable_json(orjson.dumps(document, option=option).decode())
            self.out.print(text, markup=False, soft_wrap=True)
        elif table is not None:
            self.out.print(table, markup=False)

    def say(self, text: str) -> None:
        """A remark for a person."""
        self.notes.print(text, markup=False)

    @contextmanager
    def steps(self) -> Iterator[Report]:
        """Progress on standard error while the block runs; the callable takes (step, done, of)."""
        console = self.notes
        shown = bars(console) if console.is_terminal and not console.is_dumb_terminal else plain(self.say)
        with shown as report:
            yield report

    @contextmanager
    def working(self, step: str) -> Iterator[None]:
        """`steps` for a block that is one step with nothing to count."""
        with self.steps() as report:
            report(step, 0, 1)
            yield
            report(step, 1, 1)


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]], right: Sequence[str] = ()) -> Table:
    """A table of cells; columns named in `right` are aligned right.

    Cells are shown as they are: what looks like Rich's markup in an id is no markup. A styled one is a Rich Text.
    """
    result = Table(title=Text(printable(title), "table.title"), title_justify="left", header_style="bold")
    for column in columns:
        result.add_column(Text(printable(column)), justify="right" if column in right else "left", overflow="fold")
    for row in rows:
        result.add_row(*(cell if isinstance(cell, Text) else Text(printable(str(cell))) for cell in row))
    return result
