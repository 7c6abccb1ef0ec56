"""Sample-ratio mismatch, watched all the time: false alarms, and how soon a faulty logger is found."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from serving.rollout.bench.chance import Chance
from serving.rollout.statistics.srm import RatioWatch, log_evidence

Floats = npt.NDArray[np.float64]

STAGES = ((0.01, 24), (0.05, 24), (0.25, 48), (0.5, 240))
"""Shares of the candidate and hours, for a canary that is compared with everybody else."""


def watched(draw: np.random.Generator, *, runs: int, users: int, looks: int, lost: float = 0.0) -> Floats:
    """Evidence against 1:1 at each look, [runs, looks], when the candidate loses this share of its exposures.

    `users` are both arms' together, at the end.
    """
    new = draw.poisson(users / looks / 2, (runs, looks, 2)).astype(np.float64)
    new[..., 1] = draw.binomial(new[..., 1].astype(np.int64), 1 - lost)
    return log_evidence(new.cumsum(axis=1), (0.5, 0.5), RatioWatch().weight)


def staged(draw: np.random.Generator, *, runs: int, users: int) -> Floats:
    """Evidence at each hour, [runs, looks], while the shares grow as STAGES say: stretches multiply."""
    hourly = users / sum(hours for _, hours in STAGES)
    before, found = np.zeros((runs, 1)), []
    for share, hours in STAGES:
        rates = np.array([1 - share, share]) * hourly
        counts = draw.poisson(rates, (runs, hours, 2)).cumsum(axis=1).astype(np.float64)
        found.append(before + log_evidence(counts, (1 - share, share), RatioWatch().weight))
        before = found[-1][:, -1:]
    return np.concatenate(found, axis=1)


def ratios(draw: np.random.Generator, *, runs: int, alpha: float) -> list[Chance]:
    """False alarms at `alpha`, and a logger that loses 1 % of the candidate's users."""
    limit = np.log(1 / alpha)
    even = watched(draw, runs=runs, users=2_000_000, looks=480)
    growing = staged(draw, runs=runs, users=200_000)
    found = [
        Chance.of(f"sizes are right, lanes 1:1: refused at {alpha:g}", (even >= limit).any(axis=1), most=alpha),
        Chance.of(f"sizes are right, shares grow: refused at {alpha:g}", (growing >= limit).any(axis=1), most=alpha),
    ]
    for users in (500_000, 1_000_000, 2_000_000):
        lossy = watched(draw, runs=min(runs, 2000), users=users, looks=240, lost=0.01)
        found.append(
            Chance.of(f"1 % of an arm is lost: found within {users:,} users at {alpha:g}", (lossy >= limit).any(axis=1))
        )
    return found
