"""What captions change: every variant on the same test rows, the difference with its interval, and slices.

A variant is the ranker with captions, the same ranker without (the ablation), or with the words that the pictures
were made from (the reference). All have the same settings, seeds, epochs at most and early stopping; the settings
were chosen by the ablation's validation AUC, never by the test rows or the difference.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict

from models.contract.cuts import CaptionCuts
from training.bootstrap import Verdict, paired_difference
from training.metrics import auc, calibration, grouped_auc, log_loss
from training.recipe import BootstrapSettings
from training.standing import Standing, standings, unfit

Array = npt.NDArray[Any]
Cluster = Literal["users", "items"]

ITEM_MEAN = "item mean"
LOGISTIC = "logistic regression on ids"
WITHOUT = "ranker without captions"
WITH = "ranker with captions"
REFERENCE = "ranker with the pictures' true words"


class _Closed(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Row(_Closed):
    """One line of the table: means over seeds. A measure that does not exist for the rows is None."""

    variant: str
    auc: float | None
    auc_spread: float | None
    """Standard deviation over seeds; None for one seed."""
    user_auc: float | None
    """AUC within users, weighted by rows."""
    log_loss: float
    calibration_error: float
    calibration_ratio: float | None
    calibration_slope: float | None
    seeds: int


class Gain(_Closed):
    """AUC with captions minus AUC without, on some rows."""

    rows: int
    positives: int
    auc_without: float | None
    auc_with: float | None
    difference: float | None
    low: float | None
    high: float | None
    verdict: Verdict | None
    """None when the rows have one class only, and so no AUC."""
    clusters: int
    """Users or items that were resampled."""
    deciding: int | None = None
    """Those with a positive row, or with a negative one, whichever are fewer: a verdict wants `MIN_CLUSTERS`."""


class SplitReport(_Closed):
    """All that was measured on one split."""

    split: str
    train_rows: int
    valid_rows: int
    test_rows: int
    resampled: Cluster
    rows: tuple[Row, ...]
    lift: Gain
    reference_lift: Gain | None
    """The same for the pictures' true words: the most that captions of these pictures could carry."""
    slices: dict[str, Gain]
    standings: tuple[Standing, ...] = ()
    """Each ranker beside each baseline."""
    remarks: tuple[str, ...] = ()
    """What must be known to read the figures: a ranker below a baseline, early stopping without its own rows."""
    unfit: dict[str, str] = {}
    """By variant, why the ranker must not be served; see `training.standing`."""


class LiftReport(_Closed):
    """The lift of one recipe on one data set."""

    recipe: str
    data_digest: str
    seeds: tuple[int, ...]
    level: float
    resamples: int
    cold_below: int
    """An item with fewer training interactions is cold."""
    splits: tuple[SplitReport, ...]
    captions_cut: CaptionCuts | None = None
    """Captions that lose their end to the recipe's max_tokens; None in reports from before this was counted."""


@dataclass(frozen=True, slots=True)
class Scored:
    """The test rows of a split, of all its folds together, and every variant's scores on them.

    Attributes:
        labels: [rows]; users, items: ids [rows]; item_count: training interactions of the row's item [rows];
        captioned: whether the row's item has a caption [rows].
        scores: by variant, [seeds, rows] (one row for the baselines).
    """

    labels: Array
    users: Array
    items: Array
    item_count: Array
    captioned: Array
    scores: Mapping[str, Array]

    @classmethod
    def joined(cls, parts: Sequence[Scored]) -> Scored:
        """Folds put together."""

        def column(name: str) -> Array:
            return np.concatenate([getattr(part, name) for part in parts])

        return cls(
            labels=column("labels"),
            users=column("users"),
            items=column("items"),
            item_count=column("item_count"),
            captioned=column("captioned"),
            scores={name: np.concatenate([part.scores[name] for part in parts], axis=1) for name in parts[0].scores},
        )


def table(rows: Scored) -> tuple[Row, ...]:
    """A line for each variant, in the order of `rows.scores`."""
    return tuple(_row(name, rows, scores) for name, scores in rows.scores.items())


def gain(
    rows: Scored,
    resampled: Cluster,
    bootstrap: BootstrapSettings,
    *,
    chosen: Array | None = None,
    variant: str = WITH,
) -> Gain:
    """The difference between `variant` and the ablation on the `chosen` rows (a mask; all when None)."""
    mask = np.ones(len(rows.labels), dtype=np.bool_) if chosen is None else chosen
    labels = rows.labels[mask]
    clusters = (rows.users if resampled == "users" else rows.items)[mask]
    after, before = rows.scores[variant][:, mask], rows.scores[WITHOUT][:, mask]
    found = None
    if len(labels):
        found = paired_difference(
            labels, after, before, clusters, resamples=bootstrap.resamples, level=bootstrap.level, seed=bootstrap.seed
        )
    return Gain(
        rows=len(labels),
        positives=int(labels.sum()),
        auc_without=_mean_auc(labels, before),
        auc_with=_mean_auc(labels, after),
        difference=None if found is None else found.estimate,
        low=None if found is None else found.low,
        high=None if found is None else found.high,
        verdict=None if found is None else found.verdict,
        clusters=len(np.unique(clusters)),
        deciding=None if found is None else found.deciding,
    )


def slices(
    rows: Scored, resampled: Cluster, bootstrap: BootstrapSettings, cold_below: int, whole: Gain
) -> dict[str, Gain]:
    """The gain by item age and by whether the item has a caption. A slice without rows stays, with 0.

    `whole` is the gain on all rows, which a slice of all rows has too."""
    cold, captioned = rows.item_count < cold_below, rows.captioned.astype(np.bool_)
    masks = {"cold items": cold, "warm items": ~cold, "caption present": captioned, "caption missing": ~captioned}
    return {
        name: whole if mask.all() else gain(rows, resampled, bootstrap, chosen=mask) for name, mask in masks.items()
    }


def beside_baselines(rows: Scored, resampled: Cluster, bootstrap: BootstrapSettings) -> tuple[Standing, ...]:
    """Both served rankers beside the item's mean and the logistic regression; one where they are the same ranker."""
    clusters = rows.users if resampled == "users" else rows.items
    rankers = (WITHOUT,) if _one_ranker(rows) else (WITHOUT, WITH)
    return standings(rows.labels, clusters, rows.scores, rankers, (ITEM_MEAN, LOGISTIC), bootstrap)


def unfit_rankers(rows: Scored, found: Sequence[Standing]) -> dict[str, str]:
    """Why each of the served rankers must not be served, where something speaks against it."""
    alone = _one_ranker(rows)
    judged = {name: WITHOUT if alone else name for name in (WITHOUT, WITH)}
    reasons = {name: unfit(who, rows.scores[who], found, ITEM_MEAN) for name, who in judged.items()}
    return {name: reason for name, reason in reasons.items() if reason is not None}


def _one_ranker(rows: Scored) -> bool:
    """Whether nothing has a caption, so that the ranker is its own ablation: what is said of it is said once."""
    return np.array_equal(rows.scores[WITHOUT], rows.scores[WITH])


def _row(name: str, rows: Scored, scores: Array) -> Row:
    values = [auc(rows.labels, each) for each in scores]
    known = [value for value in values if value is not None]
    calibrations = [calibration(rows.labels, each) for each in scores]
    return Row(
        variant=name,
        auc=_mean(values),
        auc_spread=float(np.std(known, ddof=1)) if len(known) > 1 else None,
        user_auc=_mean([grouped_auc(rows.labels, each, rows.users) for each in scores]),
        log_loss=float(np.mean([log_loss(rows.labels, each) for each in scores])),
        calibration_error=float(np.mean([each.error for each in calibrations])),
        calibration_ratio=_mean([each.ratio for each in calibrations]),
        calibration_slope=_mean([each.slope for each in calibrations]),
        seeds=len(scores),
    )


def _mean_auc(labels: Array, scores: Array) -> float | None:
    return _mean([auc(labels, each) for each in scores]) if len(labels) else None


def _mean(values: Sequence[float | None]) -> float | None:
    """The mean, or None as soon as one value does not exist."""
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if len(known) == len(values) and known else None
