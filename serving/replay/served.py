"""What serving a stretch of visits gives, and the seam behind which it is done: by table, or by real servers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from models.experiments.assignment import Assignment
from serving.replay.population import Floats, Ints

STABLE, CANDIDATE, OUTSIDE = 0, 1, -1


@dataclass(frozen=True, slots=True)
class Served:
    """The answers to n visits, in order.

    `shown` int64 [n, SEEN] are places in the catalogue, best first. `arm` int64 [n] is STABLE or CANDIDATE for users of
    the experiment, OUTSIDE for others; `recorded` bool [n] whether the exposure reached the log. `failed` bool [n]: the
    candidate did not answer and stable did. `unanswered` visits got nothing at all.
    """

    shown: Ints
    arm: Ints
    recorded: npt.NDArray[np.bool_]
    failed: npt.NDArray[np.bool_]
    seconds: Floats
    unanswered: int = 0


class Serving(Protocol):
    """Who ranks."""

    def serve(self, which: slice, assignment: Assignment | None) -> Served:
        """Rank for the visits `which` under the published assignment."""
        ...
