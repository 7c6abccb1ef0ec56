"""The `Assignments` port of a replay: the book in memory, and in a file where a transformer watches it."""

from __future__ import annotations

from pathlib import Path

from models.experiments.assignment import Assignment, AssignmentBook
from models.files import write_atomic


class Book:
    """One book; `file` is None where nobody but the replay reads it."""

    def __init__(self, file: Path | None = None) -> None:
        self._file, self._book = file, AssignmentBook()

    def current(self) -> Assignment | None:
        """The one experiment's assignment."""
        return self._book.assignments[0] if self._book.assignments else None

    def published(self, uid: str) -> Assignment | None:
        """The experiment's assignment as it is published."""
        return next((each for each in self._book.assignments if each.uid == uid), None)

    def publish(self, assignment: Assignment) -> None:
        """Put it in."""
        self._keep(self._book.put(assignment))

    def withdraw(self, uid: str) -> None:
        """Take it out."""
        self._keep(self._book.drop(uid))

    def _keep(self, book: AssignmentBook) -> None:
        if book != self._book and self._file is not None:
            write_atomic(self._file, book.to_json().encode())
        self._book = book
