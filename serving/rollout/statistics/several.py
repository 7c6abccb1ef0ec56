"""Several metrics, one error rate."""

from __future__ import annotations

from collections.abc import Mapping
from math import exp, sqrt


def bonferroni(alpha: float, weights: Mapping[str, float]) -> dict[str, float]:
    """Split `alpha` over metrics in proportion to positive weights: their intervals hold together at level alpha.

    Raises:
        ValueError: no metric, or a weight not above 0.
    """
    if not weights or min(weights.values()) <= 0:
        raise ValueError(f"weights are {dict(weights)}; expected at least one metric, each with a weight above 0")
    return {name: alpha * weight / sum(weights.values()) for name, weight in weights.items()}


def e_value(estimate: float, se: float, users: int, rho: float) -> float:
    """Evidence against no effect: the normal mixture behind the always-valid interval, which excludes 0 at level alpha
    exactly where this reaches 1/alpha (Robbins, Annals of Mathematical Statistics 1970; arXiv 2103.06476).

    Give it the absolute difference and its error: that is what `Effect.interval` excludes 0 by.
    """
    time = users * rho**2
    z = estimate / se
    return exp(min(z**2 * time / (2 * (time + 1)), 700.0)) / sqrt(time + 1)


def average(evidence: Mapping[str, float]) -> float:
    """Evidence that some metric moved: a mean of e-values is one, whatever their dependence (Vovk, Wang, AoS 2021).

    Raises:
        ValueError: no metric.
    """
    if not evidence:
        raise ValueError("there is no evidence to average; name at least one metric")
    return sum(evidence.values()) / len(evidence)
