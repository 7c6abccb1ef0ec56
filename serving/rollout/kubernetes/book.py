"""The assignment book, which transformers watch, changed by several experiments that know nothing of one another."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from models.experiments.assignment import Assignment, AssignmentBook, AssignmentError
from serving.rollout.experiment.ports import RefusedError, RetryError

_TRIES = 5
"""A book that changes so often between reading and writing is left to a later step."""


@dataclass(frozen=True, slots=True)
class Page:
    """The document as it was read. `version`: what a write is held against."""

    text: str
    version: Any


class Place(Protocol):
    """Where the document is kept."""

    def read(self) -> Page:
        """What is there now; empty text where there is nothing. Raises RetryError."""
        ...

    def write(self, text: str, version: Any) -> bool:
        """Put the text in place of that version; False when another one is there now. Raises RetryError."""
        ...

    def __str__(self) -> str:
        """Its name, for messages."""
        ...


class BookAssignments:
    """`Assignments` in a book that is kept somewhere."""

    def __init__(self, place: Place) -> None:
        self._place = place

    def published(self, uid: str) -> Assignment | None:
        """The experiment's assignment as it is published. Raises RetryError."""
        book = self._book(self._place.read())
        return next((each for each in book.assignments if each.uid == uid), None)

    def publish(self, assignment: Assignment) -> None:
        """Publish it in place of its earlier self.

        Raises:
            RefusedError: another experiment has the model.
            RetryError: the place does not answer, others write at the same time, or a newer revision is there, which
                is what a controller sees that has been replaced by another one.
        """

        def put(book: AssignmentBook) -> AssignmentBook:
            there = book.of(assignment.model)
            if there is not None and there.uid != assignment.uid:
                raise RefusedError(
                    f"users of model {assignment.model} are in experiment {there.experiment} (uid {there.uid}), as "
                    f"{self._place} says; wait for its end, or abort it"
                )
            if there is not None and there.revision > assignment.revision:
                raise RetryError(
                    f"{self._place} has revision {there.revision} of experiment {there.experiment}, and revision "
                    f"{assignment.revision} was to be published: another operator is further"
                )
            return book.put(assignment)

        self._change(put)

    def withdraw(self, uid: str) -> None:
        """Take the experiment's assignment away; one that is not there is no error. Raises RetryError."""
        self._change(lambda book: book.drop(uid))

    def _change(self, change: Callable[[AssignmentBook], AssignmentBook]) -> None:
        for _ in range(_TRIES):
            page = self._place.read()
            book = self._book(page)
            changed = change(book)
            if changed == book or self._place.write(changed.to_json(), page.version):
                return
        raise RetryError(f"{self._place} was changed by others {_TRIES} times between reading and writing it")

    def _book(self, page: Page) -> AssignmentBook:
        try:
            return AssignmentBook.from_json(page.text)
        except AssignmentError as error:
            raise RetryError(
                f"{self._place}: {error}; transformers keep what they had: correct or delete it"
            ) from error
