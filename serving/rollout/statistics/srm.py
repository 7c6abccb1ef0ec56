"""Sample-ratio mismatch: whether users reached the arms in the shares that were assigned.

A mismatch means that the logging or the assignment is broken, and that no effect of this experiment can be believed.
`once` is Pearson's chi-square test, for one look. `always` may be looked at any time: the Dirichlet-multinomial
mixture of Lindon and Malek, "Anytime-valid inference for multinomial count data" (NeurIPS 2022, arXiv 2011.03567).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp

import numpy as np
import numpy.typing as npt
from scipy.special import gammaln
from scipy.stats import chi2

Floats = npt.NDArray[np.float64]


class RatioError(ValueError):
    """Counts or shares that cannot be compared; the message says why."""


@dataclass(frozen=True, slots=True)
class RatioTest:
    """Counts per arm, the counts that the shares expect, and the p-value of the shares."""

    counts: tuple[int, ...]
    expected: tuple[float, ...]
    p_value: float

    def mismatch(self, alpha: float) -> bool:
        """Whether the shares are refused at level `alpha`."""
        return self.p_value < alpha


def once(counts: Sequence[int], shares: Sequence[float]) -> RatioTest:
    """Pearson's test. Raises RatioError."""
    expected = _expected(counts, shares)
    statistic = sum((found - wanted) ** 2 / wanted for found, wanted in zip(counts, expected, strict=True) if wanted)
    p_value = float(chi2.sf(statistic, len(counts) - 1)) if sum(counts) else 1.0
    return RatioTest(tuple(counts), tuple(expected), p_value)


@dataclass(frozen=True, slots=True)
class RatioWatch:
    """The anytime-valid test, over stretches of an experiment between which the shares changed.

    Each stretch is a multinomial sample with its own shares; evidence multiplies. `log_evidence` is the logarithm
    of the Bayes factor against the shares; `least_p` the smallest p-value ever seen, which is what counts.

    Attributes:
        weight: how many users' worth the mixture is concentrated on the assigned shares. With more of it a gross
            mismatch of few users is found late; with less a small one of very many users, by a little.
    """

    weight: float = 100.0
    log_evidence: float = 0.0
    least_p: float = 1.0

    def look(self, counts: Sequence[int], shares: Sequence[float]) -> RatioWatch:
        """After a look at the running stretch's counts so far."""
        evidence = self.log_evidence + self._log_factor(counts, shares)
        return RatioWatch(self.weight, self.log_evidence, min(self.least_p, min(1.0, exp(min(-evidence, 0.0)))))

    def finish(self, counts: Sequence[int], shares: Sequence[float]) -> RatioWatch:
        """After the last look at a stretch, when the shares change."""
        looked = self.look(counts, shares)
        return RatioWatch(self.weight, self.log_evidence + self._log_factor(counts, shares), looked.least_p)

    def mismatch(self, alpha: float) -> bool:
        """Whether the shares were refused at any look."""
        return self.least_p <= alpha

    def _log_factor(self, counts: Sequence[int], shares: Sequence[float]) -> float:
        _expected(counts, shares)
        used = [(found, share) for found, share in zip(counts, shares, strict=True) if share > 0]
        if any(found for found, share in zip(counts, shares, strict=True) if share == 0):
            return float("inf")  # users in an arm that had no share: no further evidence is needed
        found = np.array([count for count, _ in used], dtype=np.float64)
        return float(log_evidence(found, [share for _, share in used], self.weight))


def log_evidence(counts: Floats, shares: Sequence[float], weight: float) -> Floats:
    """Logarithm of the Bayes factor against the shares, all above 0: float64 [..., arms] to [...].

    Under the alternative the shares are Dirichlet around the assigned ones, with `weight` users' worth of belief.
    """
    share = np.asarray(shares, dtype=np.float64) / np.sum(shares)
    prior, total = weight * share, counts.sum(axis=-1)
    mixture = gammaln(weight) - gammaln(weight + total) + (gammaln(prior + counts) - gammaln(prior)).sum(axis=-1)
    found: Floats = mixture - counts @ np.log(share)
    return found


def _expected(counts: Sequence[int], shares: Sequence[float]) -> list[float]:
    if len(counts) != len(shares) or len(counts) < 2 or min(counts) < 0 or min(shares) < 0 or sum(shares) <= 0:
        raise RatioError(
            f"counts {list(counts)} and shares {list(shares)}; expected one count and one share, "
            "both at least 0, for each of two or more arms"
        )
    return [sum(counts) * share / sum(shares) for share in shares]
