"""What Prometheus counted of an arm's rankings in a span, as samples of a guardrail."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import timedelta

from models.experiments.assignment import STABLE
from serving.rollout.evidence.prometheus_api import NoData, PrometheusApi
from serving.rollout.evidence.promql import Subject
from serving.rollout.experiment.desired import CANDIDATE
from serving.rollout.experiment.limits import SURELY_SOME, Sample
from serving.rollout.experiment.sentences import span as told_span
from serving.rollout.experiment.spec import Operational, OperationalKind
from serving.rollout.statistics.limits import exceedance_chance, ratio_chance, share_chance
from serving.rollout.statistics.quantile import Histogram, HistogramError

_P99 = 0.99


@dataclass(frozen=True, slots=True)
class Arms:
    """Both arms' subjects over one span."""

    api: PrometheusApi
    each: Operational
    candidate: Subject
    stable: Subject

    @classmethod
    def of(cls, api: PrometheusApi, each: Operational, model: str, experiment: str, span: timedelta) -> Arms:
        """Of an experiment."""
        candidate, stable = (Subject(model, experiment, arm, span) for arm in (CANDIDATE, STABLE))
        return cls(api, each, candidate, stable)

    @property
    def span(self) -> str:
        """The time that is looked back on."""
        return told_span(self.candidate.span.total_seconds())

    def sample(self) -> Sample:
        """The guardrail over this span. Raises NoData for series that are not there, and for a silent candidate."""
        if self.each.kind is OperationalKind.P99_SECONDS:
            return self._seconds()
        return self._shares()

    def _shares(self) -> Sample:
        """A share of the rankings; relative: candidate's over stable's, of which 0 is taken as one ranking."""
        count, of = found = self._part(self.candidate)
        self._not_silent(of)
        told = f"{count:,.0f} of {of:,.0f} rankings"
        if not self.each.relative:
            value = count / of if of else None
            return Sample(value, of, share_chance(found, self.each.limit), told, self.span)
        base, base_of = stable = self._part(self.stable)
        value = (count / of) / (max(base, 1.0) / base_of) if of and base_of else None
        told = f"{told}; stable {base:,.0f} of {base_of:,.0f}"
        return Sample(value, of, ratio_chance(found, stable, self.each.limit), told, self.span, base_of)

    def _part(self, subject: Subject) -> tuple[float, float]:
        outcomes = self.api.by_label(subject.requests(), "outcome")
        if not outcomes:
            raise NoData(_unseen(subject, "sightline_arm_requests_total"))
        total = sum(outcomes.values())
        if self.each.kind is OperationalKind.FAILURES:
            return total - outcomes.get("ok", 0.0), total
        degraded = self.api.by_label(subject.degraded(), "")
        if not degraded:  # transformers export it from the beginning, at 0
            raise NoData(_unseen(subject, "sightline_arm_degraded_total"))
        return sum(degraded.values()), total

    def _seconds(self) -> Sample:
        """The 99th percentile: whether more than 1 % of the rankings took longer than the limit."""
        found = self._histogram(self.candidate)
        self._not_silent(found.calls)
        value = found.at(_P99) if found.calls else None
        if self.each.relative:
            return self._relative_seconds(found, value)
        told, largest = f"{found.calls:,.0f} rankings", found.edges[-2]
        if value == math.inf:
            if self.each.limit > largest:
                return self._beyond(found, largest)
            value = largest  # longer than that, and so beyond the limit
        above = found.count_above(min(self.each.limit, largest))
        chance = share_chance((above, found.calls), 1 - _P99) if self.each.limit <= largest else 1.0
        return Sample(value, found.calls, chance, told, self.span)

    def _relative_seconds(self, found: Histogram, value: float | None) -> Sample:
        """Candidate's rankings above so many times stable's percentile, beside stable's above it."""
        stable = self._histogram(self.stable)
        base = stable.at(_P99) if stable.calls else None
        if base == math.inf:
            return self._beyond(stable, stable.edges[-2], STABLE)
        if value is None or base is None:
            return Sample(None, found.calls, 1.0, "", self.span, stable.calls)
        largest = found.edges[-2]
        if value == math.inf:
            if self.each.limit * base > largest:
                return self._beyond(found, largest)
            value = largest
        told = f"{value:.4g} s of {found.calls:,.0f} rankings; stable {base:.4g} s of {stable.calls:,.0f}"
        try:
            above = found.count_above(self.each.limit * base)
        except HistogramError:
            above = 0.0  # the candidate's percentile is below it
        chance = exceedance_chance((above, found.calls), ((1 - _P99) * stable.calls, stable.calls))
        return Sample(value / base, found.calls, chance, told, self.span, stable.calls)

    def _beyond(self, found: Histogram, largest: float, arm: str = CANDIDATE) -> Sample:
        if found.calls >= self.each.minimum_requests:
            raise NoData(f"{arm}: more than 1 % took longer than {largest:g} s, the last bucket of the histogram")
        return Sample(None, found.calls, 1.0, "", self.span)

    def _histogram(self, subject: Subject) -> Histogram:
        counts = {float(edge): count for edge, count in self.api.by_label(subject.seconds(), "le").items()}
        if math.inf not in counts or len(counts) < 2:
            raise NoData(_unseen(subject, "sightline_arm_seconds_bucket"))
        edges, most, rising = sorted(counts), 0.0, []
        for edge in edges:  # increase() rounds each bucket by itself
            most = max(most, counts[edge])
            rising.append(most)
        return Histogram.of(edges, rising)

    def _not_silent(self, rankings: float) -> None:
        """Raises NoData where stable has rankings and the candidate none."""
        if round(rankings):
            return
        base = sum(self.api.by_label(self.stable.requests(), "outcome").values())
        if base >= SURELY_SOME:
            raise NoData(
                f"{CANDIDATE} had no rankings in {self.span} and {STABLE} {base:,.0f}: they do not reach it, or are "
                "not counted"
            )


def _unseen(subject: Subject, metric: str) -> str:
    return (
        f"{subject.arm} has no series {metric} in {told_span(subject.span.total_seconds())}; are transformers scraped, "
        "at least twice in that time?"
    )
