"""What the statistics promise, by simulation. 10,000 experiments of each kind, looked at every hour:

    python -m serving.rollout.bench.simulate              # a good quarter of an hour on two cores
    python -m serving.rollout.bench.simulate --runs 1000  # about three minutes

Ends with an error if a promise is missed by more than three standard errors.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from time import monotonic

import numpy as np
from rich.console import Console

from serving.rollout.bench.chance import Chance, merged, show
from serving.rollout.bench.days import DAYS, claims
from serving.rollout.bench.peeking import intervals, margins, several
from serving.rollout.bench.planned import crossings, false_alarms, powers, spread
from serving.rollout.bench.population import EVEN, EVERYDAY, PURCHASES, Floats, Population
from serving.rollout.bench.running import Arrivals
from serving.rollout.bench.shares import money, rare
from serving.rollout.bench.sizes import ratios
from serving.rollout.statistics.plan import Spread

ALPHA = 0.05
RATIO_ALPHA = 0.001
FIRST_DAY = 7
MONTH = Arrivals(days=28, users=4000)
"""A small service: each arm has 1,000 users whose window is closed after five days, 3,900 at the end."""

BOTH = Arrivals(days=28, users=20_000)
"""A larger one, both arms together: the smallest part, of 10 %, has 1,000 users after half of the time."""

Story = Callable[[np.random.Generator, int], list[Chance]]


def stories(knowledge: Spread) -> dict[str, Story]:
    """What is simulated, by title: from a source of randomness and a number of runs. `knowledge` is for plans."""
    peek = partial(_intervals, effect=0.0, least_users=1000, population=EVERYDAY, uneven=1.0)
    return {
        "No effect": peek,
        "No effect, four times as many users in stable": partial(peek, uneven=4.0),
        "Effect +10 %: how often the interval leaves it out": partial(peek, effect=0.1),
        "No effect, looked at from 100 users in each arm": partial(peek, least_users=100),
        "Money (CV about 12), no effect": partial(peek, population=PURCHASES),
        "Money, +10 %, four times as many users in stable": partial(peek, effect=0.1, population=PURCHASES, uneven=4.0),
        "Money, no effect, looked at from 100 users in each arm": partial(peek, least_users=100, population=PURCHASES),
        "Users who differ little, +10 %, from 100 users": partial(peek, effect=0.1, least_users=100, population=EVEN),
        "Uneven parts, money (CV about 12), no effect": partial(_parts, population=PURCHASES, effect=0.0),
        "Uneven parts, money, +10 %": partial(_parts, population=PURCHASES, effect=0.1),
        "Uneven parts, one user in 2,000 does something, no effect": partial(_rare, rate=0.0005),
        "Uneven parts, all but one user in 2,000 do, no effect": partial(_rare, rate=0.9995),
        "Guardrails: a loss of exactly the margin, one-sided": _margins,
        "Several metrics, no effect": _several,
        "Each method, no effect": _planned,
        "Each method's power, as planned": partial(_powers, knowledge=knowledge),
        "Sizes of the arms": _sizes,
        "Days, 300 users a day, no effect: clicks": partial(_days, users=300, population=EVERYDAY),
        "Days, 300 users a day, no effect: money": partial(_days, users=300, population=PURCHASES),
        "Days, 300 users a day, no effect: who converts": partial(_days, users=300, population=None),
        "Days, 300 users a day, the same +20 %: clicks": partial(_days, users=300, population=EVERYDAY, lifts=0.2),
        "Days, 5,000 users a day, +30 % that fades within a month": partial(
            _days, users=5000, population=EVERYDAY, lifts=np.linspace(0.3, 0.0, DAYS), differ=True
        ),
        "Days, 5,000 users a day, +40 % at weekends": partial(
            _days, users=5000, population=EVERYDAY, lifts=0.4 * (np.arange(DAYS) % 7 >= 5), differ=True
        ),
    }


def run(only: str, runs: int, seed: int, batch: int, processes: int, console: Console) -> bool:
    """Run the stories whose title contains `only` and print their tables. Says whether all promises hold."""
    known = spread(np.random.default_rng(seed), EVERYDAY, MONTH)
    told = stories(known)
    sources = np.random.SeedSequence(seed).spawn(len(told))
    holds = True
    with ProcessPoolExecutor(processes) as pool:
        for (title, story), source in zip(told.items(), sources, strict=True):
            if only.lower() not in title.lower():
                continue
            begun = monotonic()
            sizes = [min(batch, runs - done) for done in range(0, runs, batch)]
            chances = merged(pool.map(_part, [story] * len(sizes), source.spawn(len(sizes)), sizes))
            show(f"{title} ({monotonic() - begun:.0f} s)", chances, console)
            holds = holds and all(chance.holds() for chance in chances)
    return holds


def main() -> None:
    """Parse the command line and run."""
    parser = argparse.ArgumentParser(prog="python -m serving.rollout.bench.simulate", description=__doc__)
    parser.add_argument("--only", default="", help="stories whose title contains this; each has its own random numbers")
    parser.add_argument("--runs", type=int, default=10_000, help="simulated experiments of each kind")
    parser.add_argument("--seed", type=int, default=20, help="the same seed gives the same numbers")
    parser.add_argument("--batch", type=int, default=100, help="experiments held in memory at once")
    parser.add_argument("--processes", type=int, default=2)
    given = parser.parse_args()
    if not run(given.only, given.runs, given.seed, given.batch, given.processes, Console(width=120)):
        sys.exit("a promise is missed: see MISSED above")


def _part(story: Story, source: np.random.SeedSequence, runs: int) -> list[Chance]:
    return story(np.random.default_rng(source), runs)


def _intervals(
    draw: np.random.Generator, runs: int, *, effect: float, least_users: int, population: Population, uneven: float
) -> list[Chance]:
    return intervals(
        draw, population, MONTH, runs=runs, effect=effect, alpha=ALPHA, least_users=least_users, uneven=uneven
    )


def _parts(draw: np.random.Generator, runs: int, *, population: Population, effect: float) -> list[Chance]:
    return money(draw, population, BOTH, runs=runs, alpha=ALPHA, least_users=1000, effect=effect)


def _rare(draw: np.random.Generator, runs: int, *, rate: float) -> list[Chance]:
    return rare(draw, runs=runs, rate=rate, users=20_000, least_users=1000, alpha=ALPHA)


def _margins(draw: np.random.Generator, runs: int) -> list[Chance]:
    return margins(draw, EVERYDAY, MONTH, runs=runs, margin=0.05, alpha=ALPHA, least_users=1000)


def _several(draw: np.random.Generator, runs: int) -> list[Chance]:
    return several(draw, EVERYDAY, MONTH, runs=runs, alpha=ALPHA, least_users=1000)


def _planned(draw: np.random.Generator, runs: int) -> list[Chance]:
    found = crossings(draw, EVERYDAY, MONTH, runs=runs, effect=0.0, alpha=ALPHA, looks=5, first_day=1)
    return false_alarms(found, ALPHA)


def _powers(draw: np.random.Generator, runs: int, *, knowledge: Spread) -> list[Chance]:
    return powers(draw, EVERYDAY, MONTH, runs=runs, spread=knowledge, alpha=ALPHA, first_day=FIRST_DAY)


def _sizes(draw: np.random.Generator, runs: int) -> list[Chance]:
    return ratios(draw, runs=runs, alpha=RATIO_ALPHA)


def _days(
    draw: np.random.Generator,
    runs: int,
    *,
    users: int,
    population: Population | None,
    lifts: float | Floats = 0.0,
    differ: bool = False,
) -> list[Chance]:
    every = np.broadcast_to(np.asarray(lifts, dtype=np.float64), DAYS)
    return claims(draw, runs, users=users, population=population, lifts=every, differ=differ)


if __name__ == "__main__":
    main()
