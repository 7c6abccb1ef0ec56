"""What an experiment needs to know of an arm's users: how many, the sums of their columns, the sums of products.

A warehouse can deliver these as well as a stream can: merged in any order and after any split they are the same to
the last bit, and means and covariances are computed from them in exact arithmetic and rounded once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import combinations_with_replacement
from typing import Any

import numpy as np
import numpy.typing as npt

from serving.rollout.statistics.exact import exact_product_sum, exact_sum, fraction, units

Floats = npt.NDArray[np.float64]


class MomentsError(ValueError):
    """Sums that do not belong together, or that no data can have; the message says which."""


@dataclass(frozen=True, slots=True)
class Moments:
    """Sufficient statistics of the users of one arm.

    Attributes:
        columns: names, for instance ("clicks", "impressions", "clicks_before").
        count: users.
        sums: one per column, in units of 2**-1074 (see `exact`).
        products: one per pair of columns, in the order of `itertools.combinations_with_replacement`.
    """

    columns: tuple[str, ...]
    count: int
    sums: tuple[int, ...]
    products: tuple[int, ...]

    @classmethod
    def empty(cls, columns: Sequence[str]) -> Moments:
        """No users."""
        names = _names(columns)
        return cls(names, 0, (0,) * len(names), (0,) * (len(names) * (len(names) + 1) // 2))

    @classmethod
    def of(cls, columns: Mapping[str, npt.ArrayLike]) -> Moments:
        """From one value per user and column, float64 [users] each.

        Raises:
            MomentsError: columns of different length, or no column.
            InexactError: NaN, an infinity, or a magnitude beyond 1e144.
        """
        names = _names(tuple(columns))
        arrays = [np.asarray(columns[name], dtype=np.float64) for name in names]
        shapes = {name: array.shape for name, array in zip(names, arrays, strict=True)}
        if len(set(shapes.values())) != 1 or arrays[0].ndim != 1:
            raise MomentsError(f"columns have shapes {shapes}; expected one value per user in each")
        products = [exact_product_sum(left, right) for left, right in combinations_with_replacement(arrays, 2)]
        return cls(names, len(arrays[0]), tuple(exact_sum(array) for array in arrays), tuple(products))

    @classmethod
    def from_sums(cls, columns: Sequence[str], count: int, sums: Sequence[float], products: Sequence[float]) -> Moments:
        """From sums that a warehouse has made, as doubles. Raises MomentsError for sums that no data can have."""
        names = _names(columns)
        pairs = len(names) * (len(names) + 1) // 2
        if count < 0 or len(sums) != len(names) or len(products) != pairs:
            raise MomentsError(
                f"count {count}, {len(sums)} sums, {len(products)} products; "
                f"expected a count of at least 0, {len(names)} sums and {pairs} products for columns {names}"
            )
        made = cls(names, count, tuple(units(value) for value in sums), tuple(units(value) for value in products))
        made._refuse_impossible()
        return made

    def __add__(self, other: Moments) -> Moments:
        if self.columns != other.columns:
            raise MomentsError(f"columns {self.columns} and {other.columns} differ; only like sums can be merged")
        return Moments(
            self.columns,
            self.count + other.count,
            tuple(a + b for a, b in zip(self.sums, other.sums, strict=True)),
            tuple(a + b for a, b in zip(self.products, other.products, strict=True)),
        )

    def only(self, columns: Sequence[str]) -> Moments:
        """Of some of the columns, in the order given. Raises MomentsError for one that is not there."""
        names = _names(columns)
        if unknown := [name for name in names if name not in self.columns]:
            raise MomentsError(f"columns {unknown} are none of {self.columns}")
        at = [self.columns.index(name) for name in names]
        pairs = combinations_with_replacement(range(len(self.columns)), 2)
        products = dict(zip(pairs, self.products, strict=True))
        wanted = combinations_with_replacement(at, 2)
        return Moments(
            names,
            self.count,
            tuple(self.sums[place] for place in at),
            tuple(products[min(pair), max(pair)] for pair in wanted),
        )

    def mean(self) -> Floats:
        """Means by column, float64 [columns]. Raises MomentsError without users."""
        self._need(1)
        return np.array([float(fraction(total) / self.count) for total in self.sums])

    def totals(self) -> Floats:
        """Sums by column, each rounded once, float64 [columns]."""
        return np.array([float(fraction(total)) for total in self.sums])

    def covariance(self) -> Floats:
        """The unbiased covariance of the columns, float64 [columns, columns]. Raises MomentsError below two users."""
        self._need(2)
        size = len(self.columns)
        result = np.empty((size, size))
        for (row, column), total in zip(combinations_with_replacement(range(size), 2), self.products, strict=True):
            result[row, column] = result[column, row] = float(self._covariance(row, column, total))
        return result

    def to_json(self) -> dict[str, Any]:
        """A document that `from_json` reads back without loss; sums are decimal strings of integers."""
        return {
            "columns": list(self.columns),
            "count": self.count,
            "sums": [str(total) for total in self.sums],
            "products": [str(total) for total in self.products],
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Moments:
        """Raises MomentsError for a document that `to_json` did not make."""
        try:
            made = cls(
                _names(document["columns"]),
                int(document["count"]),
                tuple(int(total) for total in document["sums"]),
                tuple(int(total) for total in document["products"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise MomentsError(f"not a document of sums ({error!r}); write it with to_json") from error
        made._refuse_impossible()
        return made

    def _covariance(self, row: int, column: int, total: int) -> Fraction:
        scatter = fraction(total) - fraction(self.sums[row]) * fraction(self.sums[column]) / self.count
        return scatter / (self.count - 1)

    def _need(self, users: int) -> None:
        if self.count < users:
            raise MomentsError(f"{self.count} users; at least {users} are needed")

    def _refuse_impossible(self) -> None:
        if self.count == 0 and (any(self.sums) or any(self.products)):
            raise MomentsError("sums of no users are not 0")
        pairs = list(combinations_with_replacement(range(len(self.columns)), 2))
        for (row, column), total in zip(pairs, self.products, strict=True):
            if (
                row == column
                and self.count
                and fraction(total) < fraction(self.sums[row]) ** 2 / self.count * (1 - Fraction(1, 10**9))
            ):
                raise MomentsError(
                    f"column {self.columns[row]!r}: the sum of squares is below the least that its sum allows; "
                    "check the query"
                )


def _names(columns: Sequence[str]) -> tuple[str, ...]:
    names = tuple(columns)
    if not names or len(set(names)) != len(names):
        raise MomentsError(f"columns are {names}; expected at least one, each once")
    return names
