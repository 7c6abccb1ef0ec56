"""Chances found by simulation, each with what it should be and its Monte-Carlo standard error."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import sqrt

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.table import Table


@dataclass(frozen=True, slots=True)
class Chance:
    """How often something happened.

    Attributes:
        story: what was simulated.
        runs, happened: simulated experiments, and in how many it did.
        least, most: what theory promises of the chance.
    """

    story: str
    runs: int
    happened: int
    least: float = 0.0
    most: float = 1.0

    @classmethod
    def of(cls, story: str, happened: npt.NDArray[np.bool_], *, least: float = 0.0, most: float = 1.0) -> Chance:
        """From one truth value per run."""
        return cls(story, len(happened), int(happened.sum()), least, most)

    @property
    def share(self) -> float:
        """The estimate."""
        return self.happened / self.runs

    @property
    def error(self) -> float:
        """The binomial standard error of the estimate."""
        return sqrt(self.share * (1 - self.share) / self.runs)

    def holds(self, errors: float = 3.0) -> bool:
        """Whether the estimate is within the promise, but for so many standard errors at the promise's edge."""
        low = self.least - errors * sqrt(self.least * (1 - self.least) / self.runs)
        high = self.most + errors * sqrt(self.most * (1 - self.most) / self.runs)
        return low <= self.share <= high


def merged(parts: Iterable[Sequence[Chance]]) -> list[Chance]:
    """The same stories told by several batches of runs, added up."""
    found: dict[str, Chance] = {}
    for chance in (each for part in parts for each in part):
        before = found.get(chance.story)
        found[chance.story] = chance if before is None else _added(before, chance)
    return list(found.values())


def show(title: str, chances: Sequence[Chance], console: Console) -> None:
    """Print a table."""
    table = Table(title=title, title_justify="left")
    table.add_column("")
    for name in ("chance", "standard error", "promised", "runs"):
        table.add_column(name, justify="right")
    for each in chances:
        table.add_row(each.story, f"{each.share:.2%}", f"{each.error:.2%}", _promise(each), f"{each.runs:,}")
    console.print(table)


def _promise(chance: Chance) -> str:
    if chance.least == 0.0 and chance.most == 1.0:
        return "none"
    said = f"at most {chance.most:.1%}" if chance.least == 0.0 else f"{chance.least:.0%} to {chance.most:.0%}"
    return said if chance.holds() else f"{said}: MISSED"


def _added(left: Chance, right: Chance) -> Chance:
    return Chance(left.story, left.runs + right.runs, left.happened + right.happened, left.least, left.most)
