"""Users as experiments meet them: most do little, a few very much, those who come first come most often."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Whole = npt.NDArray[np.int64]

COLUMNS = ("clicks", "views", "clicks_before", "views_before")
WEEK = np.array([1.0, 0.95, 0.9, 0.95, 1.1, 1.3, 1.2])
"""How many views a visit has, by day of the week."""


@dataclass(frozen=True, slots=True)
class Population:
    """How users differ.

    Attributes:
        taste: standard deviation of the logarithm of a user's views.
        rate: that of the user's clicks per view.
        silent: share of users who never click.
        fading: the power of days by which users of later first days view less.
    """

    taste: float = 1.0
    rate: float = 0.5
    silent: float = 0.3
    fading: float = 0.1

    def draw(self, draw: np.random.Generator, days: Whole) -> Floats:
        """Users whose first days are `days` [users], as COLUMNS: float64 [users, 4]. Clicks are not whole numbers."""
        taste, views, rate, before = draw.standard_normal((4, len(days)))
        own = np.exp(self.taste * taste) * (1.0 + days) ** -self.fading
        clicking = np.exp(self.rate * rate) * 0.1 * (draw.random(len(days)) >= self.silent)
        viewed = 5 * own * np.exp(0.5 * views) * WEEK[days % 7]
        viewed_before = 20 * own * np.exp(0.3 * before)
        return np.stack([viewed * clicking, viewed, viewed_before * clicking, viewed_before], axis=1)


EVERYDAY = Population()
"""Views and clicks: the clicks of a user have a standard deviation of about 2.4 means."""
PURCHASES = Population(taste=1.5, silent=0.9)
"""Money: nine in ten spend nothing, a few very much; about 11 means."""
EVEN = Population(taste=0.3, rate=0.2, silent=0.0, fading=0.0)
"""Users who differ little."""
