"""How long the statistics of very many users take, and how much memory.

    python -m serving.rollout.bench.analysis                      # 100 million users, some minutes
    python -m serving.rollout.bench.analysis --users 5000000

Users are made in chunks, and only the exact summing is timed: as a stream would deliver them, so memory does not grow
with users. The analysis of finished sums (a warehouse's, for instance) takes the same time for any number of users.
"""

from __future__ import annotations

import argparse
import resource
from dataclasses import dataclass
from time import process_time

import numpy as np
from rich.console import Console

from serving.rollout.bench.population import COLUMNS, EVERYDAY
from serving.rollout.statistics.effect import Effect, Metric, Ratio, effect
from serving.rollout.statistics.moments import Moments
from serving.rollout.statistics.sequence import bound, tuning

CHUNK = 1_000_000
METRIC = Metric(Ratio("clicks", "views"), Ratio("clicks_before", "views_before"))


@dataclass(frozen=True, slots=True)
class Cost:
    """What an analysis took.

    Attributes:
        users: of both arms.
        summing: seconds of a core for the exact sums of all chunks.
        merging: seconds to add the chunks' sums.
        judging: seconds from the sums to effect and interval.
        peak: bytes of memory of the process at most, the users' chunk included.
        found: the effect.
    """

    users: int
    summing: float
    merging: float
    judging: float
    peak: int
    found: Effect


def measure(users: int, seed: int) -> Cost:
    """Sum and judge `users` users of two arms, +1 % in the second."""
    parts: tuple[list[Moments], list[Moments]] = ([], [])
    draw, summing = np.random.default_rng(seed), 0.0
    for at in range(0, users, CHUNK):
        arm = at // CHUNK % 2
        columns = EVERYDAY.draw(draw, np.zeros(min(CHUNK, users - at), dtype=np.int64))
        columns[:, 0] *= 1.01 if arm else 1.0
        begun = process_time()
        parts[arm].append(Moments.of(dict(zip(COLUMNS, columns.T, strict=True))))
        summing += process_time() - begun
    begun = process_time()
    stable, candidate = (sum(each, Moments.empty(COLUMNS)) for each in parts)
    merging = process_time() - begun
    begun = process_time()
    found = effect(METRIC, stable, candidate)
    found.interval(bound(found.users, alpha=0.05, rho=tuning(found.users, 0.05)))
    judging = process_time() - begun
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return Cost(users, summing, merging, judging, peak, found)


def main() -> None:
    """Parse the command line, measure and print."""
    parser = argparse.ArgumentParser(prog="python -m serving.rollout.bench.analysis", description=__doc__)
    parser.add_argument("--users", type=int, default=100_000_000, help="of both arms together, at least 2,000,000")
    parser.add_argument("--seed", type=int, default=20)
    given = parser.parse_args()
    if given.users < 2 * CHUNK:
        parser.error(f"--users is {given.users}; expected at least {2 * CHUNK}, a chunk for each arm")
    cost = measure(given.users, given.seed)
    Console(width=120).print(
        f"{cost.users:,} users, {len(COLUMNS)} columns, exact sums and products: {cost.summing:.1f} s of a core "
        f"({cost.users / cost.summing / 1e6:.2f} million users a second), merging {1000 * cost.merging:.1f} ms, "
        f"effect and interval {1000 * cost.judging:.2f} ms, peak memory {cost.peak / 2**20:,.0f} MiB. "
        f"Relative effect {cost.found.relative:+.4%} ± {cost.found.relative_se:.4%}."
    )


if __name__ == "__main__":
    main()
