"""Caps that keep a few users from deciding an experiment.

The cap of a column is fixed before the experiment, as a quantile of the pre-period: a cap chosen from the
experiment's own data would move with the effect. Each user's value above it counts as the cap, and how many users
that were is told.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


class CapError(ValueError):
    """A cap that cannot be set or applied; the message says why."""


@dataclass(frozen=True, slots=True)
class Caps:
    """Largest value that counts, by column; a column without a cap is left as it is."""

    largest: Mapping[str, float]

    @classmethod
    def from_history(cls, columns: Mapping[str, npt.ArrayLike], quantile: float) -> Caps:
        """The quantile (0 to 1) of each column's values in the pre-period. Raises CapError."""
        if not 0.5 <= quantile < 1:
            raise CapError(f"quantile is {quantile}; expected at least 0.5 and below 1, 0.999 for instance")
        largest = {}
        for name, values in columns.items():
            array = np.asarray(values, dtype=np.float64)
            if not len(array) or not np.isfinite(array).all():
                raise CapError(f"column {name!r} has {len(array)} values, not all finite; expected a finite history")
            largest[name] = float(np.quantile(array, quantile, method="higher"))
        return cls(largest)

    def apply(self, columns: Mapping[str, npt.ArrayLike]) -> tuple[dict[str, Floats], dict[str, int]]:
        """Capped columns, float64 [users] each, and by capped column how many users were above.

        Raises:
            CapError: a cap for a column that is not there.
        """
        unknown = sorted(set(self.largest) - set(columns))
        if unknown:
            raise CapError(f"there are caps for {unknown}; the data has columns {sorted(columns)}")
        arrays = {name: np.asarray(values, dtype=np.float64) for name, values in columns.items()}
        above = {name: int((arrays[name] > cap).sum()) for name, cap in self.largest.items()}
        return {name: np.minimum(array, self.largest.get(name, np.inf)) for name, array in arrays.items()}, above
