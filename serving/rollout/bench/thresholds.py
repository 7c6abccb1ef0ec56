"""The rules of Argo Rollouts and Flagger, as their documentation states them, applied to a ratio of two versions.

Both compare a number that a query returns with a limit. Here the number is the candidate's clicks per view over
stable's, in the requests since the last check: the fairest number such a rule can be given, as both versions share
the hour and the day of the week. Requests are divided at random by weight, not users.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from serving.rollout.bench.endings import PROMOTED, SENT_BACK, UNDECIDED, Endings
from serving.rollout.bench.running import Floats, Whole


@dataclass(frozen=True, slots=True)
class Requests:
    """Views and stable's expected clicks by hour, float64 [runs, hours], and the candidate's true effect."""

    views: Floats
    clicks: Floats
    effect: float

    @property
    def hours(self) -> int:
        """Hours of traffic."""
        return self.views.shape[1]

    def ratio(self, draw: np.random.Generator, begin: int, end: int, weight: Floats) -> Floats:
        """Candidate's clicks per view over stable's within these hours, [runs]; NaN where one has no requests."""
        views = self.views[:, begin:end].sum(axis=1).astype(np.int64)
        chance = self.clicks[:, begin:end].sum(axis=1) / np.maximum(views, 1)
        candidate = draw.binomial(views, weight)
        found = draw.binomial(candidate, np.minimum(chance * (1 + self.effect), 1.0))
        others = draw.binomial(views - candidate, chance)
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio: Floats = (found / candidate) / (others / (views - candidate))
        return ratio


class Rule(Protocol):
    """A way to decide by checks."""

    def decide(self, draw: np.random.Generator, requests: Requests) -> Endings:
        """Run all the rollouts to their ends."""


@dataclass(frozen=True, slots=True)
class ArgoRollouts:
    """A canary's steps with an analysis in the background.

    Rules, from argo-rollouts docs/features/analysis.md and its assessment of a metric's status:
    - each `setWeight` is followed by a `pause` (here: `pause` hours); after the last one the rollout is complete;
    - every `interval` a measurement is taken; it fails if `successCondition` (result >= least) does not hold;
    - more failed measurements than `failureLimit` fail the analysis, which aborts the rollout; a passed one does not
      take failures back, and a result that is no number fulfils no condition.
    """

    weights: tuple[float, ...] = (0.2, 0.4, 0.6, 0.8)
    pause: int = 2
    interval: int = 1
    least: float = 0.95
    failure_limit: int = 3

    def decide(self, draw: np.random.Generator, requests: Requests) -> Endings:
        """Run all the rollouts to their ends."""
        runs = len(requests.views)
        failures = np.zeros(runs, dtype=np.int64)
        outcome, hour = np.full(runs, UNDECIDED), np.full(runs, requests.hours)
        last = min(self.pause * len(self.weights), requests.hours)
        for end in range(self.interval, last + 1, self.interval):
            weight = self.weights[min((end - 1) // self.pause, len(self.weights) - 1)]
            ratio = requests.ratio(draw, end - self.interval, end, np.full(runs, weight))
            failures += ~(ratio >= self.least)
            aborted = (outcome == UNDECIDED) & (failures > self.failure_limit)
            outcome[aborted], hour[aborted] = SENT_BACK, end
        complete = outcome == UNDECIDED
        outcome[complete], hour[complete] = PROMOTED, last
        return Endings(outcome, hour)


@dataclass(frozen=True, slots=True)
class Flagger:
    """A canary whose weight grows while checks pass.

    Rules, from flagger docs/gitbook/usage/how-it-works.md and deployment-strategies.md ("Canary Release"), in the
    order of its scheduler, once every `interval`:
    - `threshold` failed checks in all roll back; passed ones do not take them back;
    - with weight above 0 the metric is checked over the last interval; outside `thresholdRange` (here: below `least`),
      or without a value, the check has failed and the weight stays;
    - a check that passed adds `stepWeight` up to `maxWeight`; one that passed at `maxWeight` promotes.
    """

    interval: int = 1
    threshold: int = 10
    step_weight: float = 0.05
    max_weight: float = 0.5
    least: float = 0.95

    def decide(self, draw: np.random.Generator, requests: Requests) -> Endings:
        """Run all the rollouts to their ends."""
        runs = len(requests.views)
        weight, failed = np.zeros(runs), np.zeros(runs, dtype=np.int64)
        outcome, hour = np.full(runs, UNDECIDED), np.full(runs, requests.hours)
        for end in range(self.interval, requests.hours + 1, self.interval):
            running = outcome == UNDECIDED
            if not running.any():
                break
            self._step(draw, requests, end, running, weight, failed, outcome)
            hour[running & (outcome != UNDECIDED)] = end
        return Endings(outcome, hour)

    def _step(
        self,
        draw: np.random.Generator,
        requests: Requests,
        end: int,
        running: np.ndarray[tuple[int], np.dtype[np.bool_]],
        weight: Floats,
        failed: Whole,
        outcome: Whole,
    ) -> None:
        back = running & (failed >= self.threshold)
        outcome[back] = SENT_BACK
        running = running & ~back
        ratio = requests.ratio(draw, end - self.interval, end, weight)
        passed = running & ((weight == 0) | (ratio >= self.least))
        failed[running & ~passed] += 1
        done = passed & (weight >= self.max_weight - 1e-9)
        outcome[done] = PROMOTED
        grows = passed & ~done
        weight[grows] = np.minimum(weight[grows] + self.step_weight, self.max_weight)
