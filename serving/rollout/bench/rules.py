"""Ways to decide on a rollout, side by side on the same simulated traffic.

python -m serving.rollout.bench.rules              # 1,000 months, each with four effects: about three minutes
python -m serving.rollout.bench.rules --runs 100
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass

import numpy as np
from rich.console import Console
from rich.table import Table

from serving.rollout.bench.endings import PROMOTED, SENT_BACK, Endings
from serving.rollout.bench.methods import endings
from serving.rollout.bench.running import Floats, Whole
from serving.rollout.bench.thresholds import ArgoRollouts, Flagger, Requests, Rule
from serving.rollout.bench.visits import HOURS, Month, stacked

USERS = 20_000
"""Of the service; about 14,000 of them come within the month."""
EFFECTS = {"no effect": 0.0, "win": 0.08, "small harm": -0.03, "harm": -0.08}
BATCH = 20

THRESHOLDS: Mapping[str, Rule] = {
    "Argo Rollouts, 8 hours, ratio >= 0.95": ArgoRollouts(),
    "Argo Rollouts, 7 days, ratio >= 0.95": ArgoRollouts(pause=42, interval=21),
    "Argo Rollouts, 7 days, ratio >= 0.99": ArgoRollouts(pause=42, interval=21, least=0.99),
    "Flagger, 11 hours, ratio >= 0.95": Flagger(),
    "Flagger, 7 days, ratio >= 0.95": Flagger(interval=15),
    "Flagger, 7 days, ratio >= 0.99": Flagger(interval=15, least=0.99),
}
"""The numbers of checks, weights and limits are those of the documentations' examples; intervals are stretched."""


@dataclass(frozen=True, slots=True)
class Row:
    """How one way ended, of all runs with one effect.

    Attributes:
        promoted, sent_back: shares of the runs.
        error: the larger of their Monte-Carlo standard errors.
        days, days_low, days_high: mean, and the first and last tenth of the runs.
        users: distinct users of the service by the end, on average.
    """

    way: str
    effect: str
    runs: int
    promoted: float
    sent_back: float
    error: float
    days: float
    days_low: float
    days_high: float
    users: float

    @classmethod
    def of(cls, way: str, effect: str, outcome: Whole, hours: Whole, users: Floats) -> Row:
        """From runs, [runs] each."""
        shares = [(outcome == end).mean() for end in (PROMOTED, SENT_BACK)]
        days = hours / 24
        return cls(
            way,
            effect,
            len(outcome),
            float(shares[0]),
            float(shares[1]),
            float(max(np.sqrt(share * (1 - share) / len(outcome)) for share in shares)),
            float(days.mean()),
            float(np.quantile(days, 0.1)),
            float(np.quantile(days, 0.9)),
            float(users.mean()),
        )


Part = dict[tuple[str, str], tuple[Whole, Whole, Floats]]
"""By way and effect: outcomes, hours, users seen."""


def batch(source: np.random.SeedSequence, runs: int, planned: float) -> Part:
    """So many months, each with every effect and decided in every way."""
    draw = np.random.default_rng(source)
    months = [Month.draw(draw, USERS) for _ in range(runs)]
    requests = [month.requests() for month in months]
    views, clicks = (np.stack(each) for each in zip(*requests, strict=True))
    seen = np.stack([month.seen() for month in months])
    found: Part = {}
    for name, effect in EFFECTS.items():
        arms = [month.arms(month.candidate_clicks(draw, effect)) for month in months]
        stable, candidate = (stacked([arm[side] for arm in arms]) for side in (0, 1))
        ends = dict(endings(stable, candidate, planned))
        ends |= {way: rule.decide(draw, Requests(views, clicks, effect)) for way, rule in THRESHOLDS.items()}
        found |= {(way, name): _known(end, seen) for way, end in ends.items()}
    return found


def planned_users(seed: int) -> float:
    """Users of both arms whose window closes within the month: what a plan from history would say."""
    months = [Month.draw(np.random.default_rng([seed, part]), USERS) for part in range(5)]
    return float(np.mean([(month.first() + 24 <= HOURS).sum() for month in months]))


def rows(runs: int, seed: int, processes: int) -> list[Row]:
    """Run everything."""
    planned = planned_users(seed)
    sizes = [min(BATCH, runs - done) for done in range(0, runs, BATCH)]
    sources = np.random.SeedSequence(seed).spawn(len(sizes))
    with ProcessPoolExecutor(processes) as pool:
        parts = list(pool.map(batch, sources, sizes, [planned] * len(sizes)))
    return [
        Row.of(way, effect, *(np.concatenate([part[way, effect][place] for part in parts]) for place in range(3)))
        for way, effect in parts[0]
    ]


def table(found: Sequence[Row]) -> Table:
    """Side by side: all ways, for each effect."""
    made = Table(title=f"{found[0].runs:,} months of one service, decided in every way", title_justify="left")
    made.add_column("", no_wrap=True)
    for name in ("promoted", "sent back", "undecided", "days (first to last tenth)", "users"):
        made.add_column(name, justify="right", no_wrap=True)
    for effect, size in EFFECTS.items():
        made.add_section()
        made.add_row(f"{effect}, {size:+.0%}" if size else effect)
        for row in found:
            if row.effect == effect:
                made.add_row(f"  {row.way}", *_cells(row))
    return made


def main() -> None:
    """Parse the command line, run and print."""
    parser = argparse.ArgumentParser(prog="python -m serving.rollout.bench.rules", description=__doc__)
    parser.add_argument("--runs", type=int, default=1000, help="months, each with every effect")
    parser.add_argument("--seed", type=int, default=20, help="the same seed gives the same numbers")
    parser.add_argument("--processes", type=int, default=2)
    given = parser.parse_args()
    console = Console(width=120)
    found = rows(given.runs, given.seed, given.processes)
    console.print(table(found))
    console.print(
        f"Shares of months, standard errors at most {max(row.error for row in found):.1%}. Sent back: called harm, or "
        "rolled back. Undecided: after 28 days, and stays on stable.\n"
        "Users: distinct users of the service who came by then."
    )


def _known(end: Endings, seen: Whole) -> tuple[Whole, Whole, Floats]:
    return end.outcome, end.hour, seen[np.arange(len(seen)), end.hour - 1].astype(np.float64)


def _cells(row: Row) -> tuple[str, ...]:
    undecided = abs(1 - row.promoted - row.sent_back)
    days = f"{row.days:.1f} ({row.days_low:.1f} to {row.days_high:.1f})"
    return f"{row.promoted:.1%}", f"{row.sent_back:.1%}", f"{undecided:.1%}", days, f"{row.users:,.0f}"


if __name__ == "__main__":
    main()
