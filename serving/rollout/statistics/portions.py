"""Whether a portion of what users do moved between the arms as the rest of it did: one sender's outcomes beside all
others'.

Where both moved alike, portion over rest is the same number in both arms, whatever the effect is, so
`candidate portion * stable rest - stable portion * candidate rest` is 0 on average. Written without a division it also
holds where one of the four is 0; its error is the delta method's, of each arm's means with their covariance.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf, sqrt

import numpy as np

from serving.rollout.statistics.moments import Moments
from serving.rollout.statistics.several import e_value


@dataclass(frozen=True, slots=True)
class Portion:
    """How differently a portion moved: 0 where it moved as the rest did. `users` are those of both arms."""

    difference: float
    error: float
    users: int

    def evidence(self, rho: float) -> float:
        """An e-value against a portion that moved as the rest did; may be looked at any time."""
        if self.error == 0:
            return inf if self.difference else 1.0
        return e_value(self.difference, self.error, self.users, rho)


def portion(stable: Moments, candidate: Moments) -> Portion:
    """Compare, of sums whose two columns are a portion and the rest. Raises MomentsError below two users in an arm."""
    (left, left_rest), (right, right_rest) = stable.mean(), candidate.mean()
    slopes = (np.array([-right_rest, right]), np.array([left_rest, -left]))
    variance = sum(
        float(slope @ each.covariance() @ slope) / each.count
        for slope, each in zip(slopes, (stable, candidate), strict=True)
    )
    difference = float(right * left_rest - left * right_rest)
    return Portion(difference, sqrt(max(variance, 0.0)), stable.count + candidate.count)
