"""Caps that keep a few users from deciding an experiment.

The caps of a column are fixed before the experiment, as quantiles of users' numbers in the time before: a cap chosen
from the experiment's own data would move with the effect. Those numbers must be of the same length of time as the
experiment's: what a user does in a fortnight says little of a day. Each number beyond a cap counts as the cap, and how
many users that were is told.

Where most users do nothing a quantile of all of them is 0, and such a cap would delete the metric: the quantile of the
users above 0 is taken then (below 0 for the lower one), and where there are none the column stays as it is. Both are
told in `Caps.notes`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


class CapError(ValueError):
    """A cap that cannot be set or applied; the message says why."""


@dataclass(frozen=True, slots=True)
class CapRule:
    """How a column is capped.

    Attributes:
        upper: quantile that is the largest number, 0.5 to 1; None: no upper cap.
        lower: quantile that is the least number, 0 to 0.5, for numbers that may be below 0; None: no lower cap.
        nonzero: take quantiles of the numbers that are not 0, alone.
    """

    upper: float | None = None
    lower: float | None = None
    nonzero: bool = False

    def __post_init__(self) -> None:
        if self.upper is not None and not 0.5 <= self.upper < 1:
            raise CapError(f"quantile is {self.upper}; expected at least 0.5 and below 1, 0.999 for instance")
        if self.lower is not None and not 0 < self.lower <= 0.5:
            raise CapError(f"lower quantile is {self.lower}; expected above 0 and at most 0.5, 0.001 for instance")


@dataclass(frozen=True, slots=True)
class Caps:
    """Largest and least value that counts, by column; a column without caps is left as it is.

    `notes` are sentences on columns whose caps are not the quantile that was asked for.
    """

    largest: Mapping[str, float]
    least: Mapping[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @classmethod
    def from_history(cls, columns: Mapping[str, npt.ArrayLike], quantile: float) -> Caps:
        """The quantile (0 to 1) of each column's values in the pre-period. Raises CapError."""
        return cls.learned(columns, dict.fromkeys(columns, CapRule(quantile)))

    @classmethod
    def learned(cls, columns: Mapping[str, npt.ArrayLike], rules: Mapping[str, CapRule]) -> Caps:
        """Caps of each column by its rule, from one number per user, float64 [users] each. Raises CapError."""
        largest: dict[str, float] = {}
        least: dict[str, float] = {}
        notes: list[str] = []
        for name, rule in rules.items():
            array = np.asarray(columns[name], dtype=np.float64)
            if not len(array) or not np.isfinite(array).all():
                raise CapError(f"column {name!r} has {len(array)} values, not all finite; expected a finite history")
            for into, quantile, sign in ((largest, rule.upper, 1.0), (least, rule.lower, -1.0)):
                if quantile is None:
                    continue
                cap, note = _cap(array, quantile, sign, nonzero=rule.nonzero)
                if cap is not None:
                    into[name] = cap
                if note:
                    notes.append(f"{name}: {note}")
        return cls(largest, least, tuple(notes))

    def with_others(self, other: Caps) -> Caps:
        """Caps of both; columns are different ones."""
        return Caps({**self.largest, **other.largest}, {**self.least, **other.least}, self.notes + other.notes)

    def renamed(self, names: Mapping[str, str]) -> Caps:
        """The same under other names of columns."""
        largest, least = ({names[name]: cap for name, cap in caps.items()} for caps in (self.largest, self.least))
        return Caps(largest, least, tuple(f"before the first exposure, {note}" for note in self.notes))

    def apply(self, columns: Mapping[str, npt.ArrayLike]) -> tuple[dict[str, Floats], dict[str, int]]:
        """Capped columns, float64 [users] each, and by capped column how many users were beyond.

        Raises:
            CapError: a cap for a column that is not there.
        """
        names = sorted({*self.largest, *self.least})
        unknown = sorted(set(names) - set(columns))
        if unknown:
            raise CapError(f"there are caps for {unknown}; the data has columns {sorted(columns)}")
        arrays = {name: np.asarray(values, dtype=np.float64) for name, values in columns.items()}
        kept = {name: np.clip(array, *self.ends(name)) for name, array in arrays.items()}
        return kept, {name: int((kept[name] != arrays[name]).sum()) for name in names}

    def ends(self, name: str) -> tuple[float, float]:
        """The least and the largest number of a column that count."""
        return self.least.get(name, -np.inf), self.largest.get(name, np.inf)


def _cap(numbers: Floats, quantile: float, sign: float, *, nonzero: bool) -> tuple[float | None, str]:
    """The cap on the side of `sign`, None: no cap; and what is odd about it."""
    side = "above" if sign > 0 else "below"
    chosen = numbers[numbers != 0] if nonzero else numbers
    cap = _outward(chosen, quantile, sign) if len(chosen) else 0.0
    if cap * sign > 0 or (cap != 0 and (numbers != 0).all()):
        return cap, ""
    beyond = numbers[numbers * sign > 0]
    if not len(beyond):
        return None, f"no user was {side} 0 in the time before, so there is nothing to cap by: it is not capped"
    cap = _outward(beyond, quantile, sign)
    told = f"the {quantile:g} quantile of {len(numbers):,} users is not {side} 0"
    return cap, f"{told}; it is capped at {cap:g}, that quantile of the {len(beyond):,} users {side} 0"


def _outward(numbers: Floats, quantile: float, sign: float) -> float:
    """The quantile; between two numbers the one further out."""
    if sign > 0:
        return float(np.quantile(numbers, quantile, method="higher"))
    return float(np.quantile(numbers, quantile, method="lower"))
