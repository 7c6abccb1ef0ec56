"""How a ranker stands beside what must be beaten, and from where on it is not fit to be served.

A ranker is compared with the item's mean and with the logistic regression on ids, by the paired bootstrap of the lift,
on the test rows of its split. It is *below* one where the interval's upper end is below 0: that is said. It is *unfit*
where the upper end of its difference to the item's mean is below -0.01 AUC, or where all of its scores are equal: a run
that has gone wrong. Both want as many users (or items) as any verdict.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict

from training.bootstrap import Verdict, paired_difference
from training.metrics import auc
from training.recipe import BootstrapSettings

Array = npt.NDArray[Any]
FAR = 0.01  # AUC


class Standing(BaseModel):
    """AUC of a ranker minus AUC of a baseline, with its interval; of the seed that is served."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    variant: str
    baseline: str
    auc: float
    baseline_auc: float
    difference: float
    low: float
    high: float
    verdict: Verdict

    @property
    def far_below(self) -> bool:
        """Whether it is below, and by more than `FAR` for certain."""
        return self.verdict == "lower" and self.high < -FAR

    def __str__(self) -> str:
        """The sentence of a ranker that is below."""
        where = "far below" if self.far_below else "below"
        values = f"AUC {self.auc:.4f} against {self.baseline_auc:.4f}"
        return f"the {self.variant} is {where} the {self.baseline}: {values} [{self.low:+.4f}, {self.high:+.4f}]"


def standings(
    labels: Array,
    clusters: Array,
    scores: Mapping[str, Array],
    variants: Sequence[str],
    baselines: Sequence[str],
    bootstrap: BootstrapSettings,
) -> tuple[Standing, ...]:
    """Each variant beside each baseline, none on rows of one class. `scores` are [seeds, rows], by name."""
    found = []
    for variant in variants:
        for baseline in baselines:
            ours, theirs = scores[variant][:1], scores[baseline][:1]
            difference = paired_difference(
                labels,
                ours,
                theirs,
                clusters,
                resamples=bootstrap.resamples,
                level=bootstrap.level,
                seed=bootstrap.seed,
            )
            one, other = auc(labels, ours[0]), auc(labels, theirs[0])
            if difference is None or one is None or other is None:
                continue
            found.append(
                Standing(
                    variant=variant,
                    baseline=baseline,
                    auc=one,
                    baseline_auc=other,
                    difference=difference.estimate,
                    low=difference.low,
                    high=difference.high,
                    verdict=difference.verdict,
                )
            )
    return tuple(found)


def unfit(variant: str, scores: Array, found: Sequence[Standing], decisive: str) -> str | None:
    """Why the ranker must not be served, if something speaks against it. `decisive` is the baseline that counts."""
    if len(scores[0]) > 1 and float(np.ptp(scores[0])) == 0.0:
        return f"the {variant} gives every test row the same score, {float(scores[0][0]):.4g}"
    for each in found:
        if each.variant == variant and each.baseline == decisive and each.far_below:
            return str(each)
    return None
