"""What commands print: tables and progress for people, one JSON document for machines."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import orjson
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table


@dataclass(frozen=True)
class Output:
    """Standard output carries the answer, standard error the progress; with `json` the answer is one document."""

    json: bool = False

    @property
    def out(self) -> Console:
        """Where answers go."""
        return Console(soft_wrap=True, highlight=False)

    @property
    def notes(self) -> Console:
        """Where progress and remarks go."""
        return Console(stderr=True, soft_wrap=True, highlight=False)

    def answer(self, document: Any, table: Table | str | None = None) -> None:
        """Print the document as JSON, or the table that shows the same."""
        if self.json:
            option = orjson.OPT_INDENT_2 | orjson.OPT_SERIALIZE_NUMPY
            self.out.print(orjson.dumps(document, option=option).decode(), markup=False)
        elif table is not None:
            self.out.print(table)

    def say(self, text: str) -> None:
        """A remark for a person."""
        self.notes.print(text)

    @contextmanager
    def progress(self) -> Iterator[Progress]:
        """Progress bars on standard error (plain lines are not needed: a bar that cannot be drawn is left out)."""
        columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
        with Progress(*columns, TimeElapsedColumn(), console=self.notes) as bars:
            yield bars


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]], right: Sequence[str] = ()) -> Table:
    """A table of text cells; columns named in `right` are aligned right."""
    result = Table(title=title, title_justify="left", header_style="bold")
    for column in columns:
        result.add_column(column, justify="right" if column in right else "left")
    for row in rows:
        result.add_row(*(str(cell) for cell in row))
    return result
