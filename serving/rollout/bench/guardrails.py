"""Operational guardrails of a shipped sample: false alarms over a whole experiment, and time to find a real breach.

    python -m serving.rollout.bench.guardrails             # about four minutes on two cores
    python -m serving.rollout.bench.guardrails --runs 50

Prometheus is read every 30 s as the controller does it; rankings come by day and night. Ends with an error if a
promise is missed by more than three standard errors.
"""

from __future__ import annotations

import argparse
import sys
from itertools import product
from pathlib import Path

import numpy as np
import numpy.typing as npt
import yaml
from rich.console import Console
from rich.table import Table
from scipy.stats import binom, lognorm

from models.experiments.latency import SECONDS
from models.local_path import local_path
from serving.rollout.bench.chance import Chance, show
from serving.rollout.experiment.durations import length
from serving.rollout.experiment.lapses import pace
from serving.rollout.experiment.limits import reading_alpha, spans
from serving.rollout.experiment.spec import ExperimentSpec, Operational, OperationalKind
from serving.rollout.experiment.state import Phase
from serving.rollout.statistics.limits import exceedance_chance

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

SAMPLES = ("manifests/samples/experiment.yaml", "manifests/examples/experiments/kserve.yaml")
RATES = (0.03, 0.33, 3.3)
"""Rankings of the candidate in a second, on average: 2,600, 29,000 and 290,000 a day."""
HEALTHY = 0.003
_MEDIAN, _SPREAD = 0.012, 0.5
_NIGHT = 0.8


class Watch:
    """One guardrail of a sample: its spans in readings, and how sure a reading must be."""

    def __init__(self, spec: ExperimentSpec, each: Operational) -> None:
        self.step = pace(spec, Phase.RUNNING)
        self.readings = round(length(spec.analysis.maximum_time) / self.step)
        self.spans = [round(span / self.step) for span in spans(each)]
        self.alpha, self.each = reading_alpha(spec), each
        self._table: Floats = np.full(1, np.inf)

    def rankings(self, draw: np.random.Generator, rate: float) -> Floats:
        """Rankings between two readings, more by day than by night."""
        seconds = self.step.total_seconds()
        hours = np.arange(self.readings) * seconds / 3600
        expected = rate * seconds * (1 - _NIGHT * np.cos(2 * np.pi * hours / 24))
        return np.asarray(draw.poisson(expected), dtype=np.float64)

    def breached(self, failed: Floats, of: Floats) -> Bools:
        """Whether each reading finds the share of failures above the limit, [readings]."""
        found = np.zeros(len(of), dtype=np.bool_)
        for span in self.spans:
            found |= _within(failed, span) >= self._proof(_within(of, span))
        return found

    def slower(self, candidate: Floats, stable: Floats) -> Bools:
        """Whether each reading finds the 99th percentile above so many times stable's; [readings, buckets] each."""
        found = np.zeros(len(candidate), dtype=np.bool_)
        for span in self.spans:
            mine, base = _within(candidate, span), _within(stable, span)
            of, base_of = mine[:, -1], base[:, -1]
            limit = self.each.limit * _quantile(base)
            above = of - _below(mine, limit)
            part = 0.01 * base_of
            doubtful = np.flatnonzero((of > 0) & (base_of > 0) & (above > 0.02 * of) & (above >= 5))
            for place in doubtful[~found[doubtful]]:
                chance = exceedance_chance((above[place], of[place]), (part[place], base_of[place]))
                found[place] |= chance <= self.alpha
        return found

    def _proof(self, of: Floats) -> Floats:
        """The smallest count that is proof, for each number of rankings."""
        most = int(of.max())
        if most >= len(self._table):
            every = np.arange(len(self._table), 2 * most + 1)
            self._table = np.concatenate([self._table, binom.isf(self.alpha, every, self.each.limit) + 1])
        return self._table[of.astype(np.int64)]


def watch_of(root: Path, sample: str, kind: OperationalKind) -> Watch:
    """The guardrail of that kind in a shipped sample."""
    spec = ExperimentSpec.model_validate(yaml.safe_load((root / sample).read_text())["spec"])
    return Watch(spec, next(each for each in spec.guardrails if each.kind is kind))


def false_alarms(draw: np.random.Generator, watch: Watch, runs: int, share: float, rate: float) -> tuple[Bools, Bools]:
    """Whether each run is ended, by the bound and by the point estimate of a window with enough rankings."""
    bound, point = np.zeros((2, runs), dtype=np.bool_)
    for run in range(runs):
        of = watch.rankings(draw, rate)
        failed = draw.binomial(of.astype(np.int64), share).astype(np.float64)
        bound[run] = watch.breached(failed, of).any()
        window, rankings = _within(failed, watch.spans[0]), _within(of, watch.spans[0])
        point[run] = (window > watch.each.limit * rankings)[rankings >= watch.each.minimum_requests].any()
    return bound, point


def slow_alarms(draw: np.random.Generator, watch: Watch, runs: int, factor: float, rate: float) -> Bools:
    """The same of the 99th percentiles, for a candidate that is so many times slower."""
    found = np.zeros(runs, dtype=np.bool_)
    for run in range(runs):
        of = watch.rankings(draw, rate)
        arms = [_histogram(draw, of, _MEDIAN * times) for times in (factor, 1.0)]
        found[run] = watch.slower(arms[0], arms[1]).any()
    return found


def minutes_to_find(draw: np.random.Generator, watch: Watch, runs: int, share: float, rate: float) -> Floats:
    """Minutes from the breach, somewhere in the second day, to the reading that ends the experiment; or infinity."""
    found = np.full(runs, np.inf)
    day = round(86_400 / watch.step.total_seconds())
    for run in range(runs):
        begins = day + int(draw.integers(day))
        of = watch.rankings(draw, rate)
        shares = np.where(np.arange(len(of)) < begins, HEALTHY, share)
        failed = draw.binomial(of.astype(np.int64), shares).astype(np.float64)
        late = np.flatnonzero(watch.breached(failed, of)[begins:])
        if len(late):
            found[run] = (late[0] + 1) * watch.step.total_seconds() / 60
    return found


def run(root: Path, runs: int, seed: int, console: Console) -> bool:
    """Print both tables. Says whether the promises hold."""
    draw, chances = np.random.default_rng(seed), []
    most = 0.01
    for sample, rates in zip(SAMPLES, (RATES, RATES[1:2]), strict=True):
        watch = watch_of(root, sample, OperationalKind.FAILURES)
        named = sample.rpartition("/")[2]
        for share, rate in product((HEALTHY, watch.each.limit), rates):
            bound, point = false_alarms(draw, watch, runs, share, rate)
            told = f"{named}: {share:.1%} fail, limit {watch.each.limit:.0%}, {rate:g}/s"
            chances += [Chance.of(told, bound, most=most), Chance.of(f"{told}, by point estimate", point)]
        slow = watch_of(root, sample, OperationalKind.P99_SECONDS)
        for factor in (1.0, slow.each.limit):
            told = f"{named}: p99 {factor:g} times stable's, limit {slow.each.limit:g}, {RATES[1]:g}/s"
            alarms = slow_alarms(draw, slow, max(runs // 10, 1), factor, RATES[1])
            chances.append(Chance.of(told, alarms, most=most))
    show("A candidate within its limits is sent back, over the whole experiment", chances, console)
    table = Table(title="Minutes from a real breach to rollback, limit 1 %: median (95 of 100)", title_justify="left")
    for name in ("candidate's rankings", *(f"{share:.0%} fail" for share in _BREACHES)):
        table.add_column(name, justify="right")
    watch = watch_of(root, SAMPLES[0], OperationalKind.FAILURES)
    for rate in RATES:
        cells = [minutes_to_find(draw, watch, max(runs // 5, 1), share, rate) for share in _BREACHES]
        table.add_row(f"{rate:g}/s", *(_minutes(each) for each in cells))
    console.print(table)
    return all(each.holds() for each in chances)


_BREACHES = (1.0, 0.1, 0.03, 0.02)


def _minutes(found: Floats) -> str:
    middle, late = np.quantile(found, [0.5, 0.95], method="higher")
    return f"{middle:,.1f} ({late:,.1f})"


def _within(counts: Floats, span: int) -> Floats:
    """Sums of the last `span` readings, fewer at the beginning."""
    summed = counts.cumsum(axis=0)
    before = np.zeros_like(summed)
    before[span:] = summed[:-span]
    return summed - before


def _histogram(draw: np.random.Generator, of: Floats, median: float) -> Floats:
    """Cumulative counts by the transformers' bounds and infinity, [readings, buckets], of lognormal seconds."""
    below = lognorm.cdf([*SECONDS, np.inf], _SPREAD, scale=median)
    return np.asarray(draw.poisson(of[:, None] * np.diff(below, prepend=0.0)).cumsum(axis=1), dtype=np.float64)


def _quantile(counts: Floats) -> Floats:
    """The 99th percentile of each row, linear within its bucket."""
    edges, rank = np.array(SECONDS), 0.99 * counts[:, -1]
    place = np.minimum((counts[:, :-1] < rank[:, None]).sum(axis=1), len(edges) - 1)
    rows = np.arange(len(counts))
    below = np.where(place > 0, counts[rows, place - 1], 0.0)
    low = np.where(place > 0, edges[place - 1], 0.0)
    held = np.maximum(counts[rows, place] - below, 1e-9)
    return np.asarray(low + (edges[place] - low) * np.clip((rank - below) / held, 0.0, 1.0))


def _below(counts: Floats, limit: Floats) -> Floats:
    """Rankings of each row up to so many seconds, linear within a bucket; all of them beyond the last bound."""
    edges = np.array(SECONDS)
    place = np.searchsorted(edges, limit)
    rows, inside = np.arange(len(counts)), np.minimum(place, len(edges) - 1)
    below = np.where(inside > 0, counts[rows, inside - 1], 0.0)
    low = np.where(inside > 0, edges[inside - 1], 0.0)
    part = np.clip((limit - low) / (edges[inside] - low), 0.0, 1.0)
    found = below + part * (counts[rows, inside] - below)
    return np.asarray(np.where(place >= len(edges), counts[:, -1], found))


def main() -> None:
    """Parse the command line and run."""
    parser = argparse.ArgumentParser(prog="python -m serving.rollout.bench.guardrails", description=__doc__)
    parser.add_argument("--runs", type=int, default=500, help="experiments of each kind; a tenth for percentiles")
    parser.add_argument("--seed", type=int, default=20, help="the same seed gives the same numbers")
    parser.add_argument("--root", type=local_path, default=Path(), help="the repository, whose samples are read")
    given = parser.parse_args()
    if not run(given.root, given.runs, given.seed, Console(width=120)):
        sys.exit("a promise is missed: see MISSED above")


if __name__ == "__main__":
    main()
