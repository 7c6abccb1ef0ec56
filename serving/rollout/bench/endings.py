"""How rollouts end: promoted, sent back or undecided, and when."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from serving.rollout.bench.running import Whole

PROMOTED, SENT_BACK, UNDECIDED = 1, -1, 0


@dataclass(frozen=True, slots=True)
class Endings:
    """[runs] each: PROMOTED, SENT_BACK or UNDECIDED, and the hour after which it was known."""

    outcome: Whole
    hour: Whole

    @classmethod
    def first(cls, better: npt.NDArray[np.bool_], worse: npt.NDArray[np.bool_]) -> Endings:
        """By the first look [runs, looks] that says one of both; undecided at the last look otherwise."""
        said = better | worse
        any_said = said.any(axis=1)
        at = np.where(any_said, said.argmax(axis=1), said.shape[1] - 1)
        runs = np.arange(len(said))
        outcome = np.where(any_said, np.where(better[runs, at], PROMOTED, SENT_BACK), UNDECIDED)
        return cls(outcome, at + 1)
