"""Quantiles from histograms, for guardrails such as the 99th percentile of latency.

A histogram of cumulative counts (Prometheus' `le` buckets) says for each bucket's edge how many calls were at most
that long. The quantile's interval comes from the one of its rank: calls beyond the candidate quantile are a
binomial share (Clopper and Pearson, Biometrika 1934). Calls of one user are not independent, so this belongs to
guardrails, never to the verdict.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import inf

from scipy.stats import beta


class HistogramError(ValueError):
    """Buckets that are no histogram; the message says why."""


@dataclass(frozen=True, slots=True)
class Histogram:
    """`counts[i]` calls took at most `edges[i]` seconds; edges increase, the last is infinity."""

    edges: tuple[float, ...]
    counts: tuple[float, ...]

    @classmethod
    def of(cls, edges: Sequence[float], counts: Sequence[float]) -> Histogram:
        """Raises HistogramError for edges or cumulative counts out of order, or a last edge that is not infinity."""
        ordered = all(a < b for a, b in pairwise(edges))
        rising = all(a <= b for a, b in pairwise((0.0, *counts)))
        if len(edges) != len(counts) or not ordered or not rising or not edges or edges[-1] != inf:
            raise HistogramError(
                f"edges {list(edges)} and counts {list(counts)}; expected increasing edges that end with infinity and "
                "one cumulative count for each"
            )
        return cls(tuple(edges), tuple(counts))

    @property
    def calls(self) -> float:
        """All calls."""
        return self.counts[-1]

    def share_above(self, edge: float, alpha: float) -> tuple[float, float]:
        """An interval of level 1 - alpha for the share of calls above `edge`, which must be one of the edges."""
        if edge not in self.edges:
            raise HistogramError(f"{edge} is no edge of the histogram; its edges are {list(self.edges)}")
        above = self.calls - self.counts[self.edges.index(edge)]
        low = float(beta.ppf(alpha / 2, above, self.calls - above + 1)) if above else 0.0
        high = float(beta.ppf(1 - alpha / 2, above + 1, self.calls - above)) if above < self.calls else 1.0
        return low, high

    def count_above(self, seconds: float) -> float:
        """Calls above so many seconds, linear within a bucket. Raises HistogramError beyond the last finite edge."""
        below, low = 0.0, 0.0
        for edge, count in zip(self.edges[:-1], self.counts, strict=False):
            if seconds < edge:
                return self.calls - below - (count - below) * (seconds - low) / (edge - low)
            below, low = count, edge
        if seconds > low:
            raise HistogramError(f"{seconds:g} s is beyond {low:g} s, the last edge: nobody counted there")
        return self.calls - below

    def at(self, share: float) -> float:
        """The quantile, linear within its bucket, as Prometheus' histogram_quantile has it.

        Infinite where it is beyond the last finite edge.
        """
        rank, below, low = share * self.calls, 0.0, 0.0
        for edge, count in zip(self.edges, self.counts, strict=True):
            if count >= rank and count > below:
                return low + (edge - low) * (rank - below) / (count - below)
            below, low = count, edge
        return inf

    def quantile(self, share: float, alpha: float) -> tuple[float, float]:
        """Edges between which the quantile lies: an interval of level at least 1 - alpha, as fine as the buckets.

        The low edge is one that more than 1 - share of the calls surely exceed (0 if there is none); the high edge
        one that surely fewer do (infinity if there is none).
        """
        low, high = 0.0, inf
        for edge in self.edges[:-1]:
            least, most = self.share_above(edge, alpha)
            if least > 1 - share:
                low = edge
            if most < 1 - share:
                high = edge
                break
        return low, high
