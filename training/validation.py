"""Rows to judge epochs by, where a split leaves none that can: early stopping needs both classes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from training.data.errors import SplitError
from training.rows import Ints, Parts, Rows

SHARE = 0.1  # of the training rows of each class


def with_validation(parts: Parts, split: str) -> Parts:
    """The parts with validation rows of both classes.

    Where the split's own have one class, or are none, a tenth of the training rows of each class, drawn by chance, are
    validation too, and `remark` says so. It also says where training has too few to lend: all epochs are trained then.

    Raises:
        SplitError: the training rows are of one class, from which nothing can be learned.
    """
    train, valid = parts.train, parts.valid
    classes = [np.flatnonzero(train.labels == label) for label in (0, 1)]
    if min(map(len, classes)) == 0:
        raise SplitError(
            f"split {split}: all {len(train)} training rows have label {int(train.labels[0])}; expected both 0 and 1: "
            "choose another split in the recipe, or bring more interactions"
        )
    if len(np.unique(valid.labels)) == 2:
        return parts
    found = (
        f"all {len(valid)} validation rows have label {int(valid.labels[0])}" if len(valid) else "no validation rows"
    )
    if min(map(len, classes)) < 2:
        remark = (
            f"{found}, and training has too few of one label to lend some: no early stopping, the last epoch is kept"
        )
        return replace(parts, remark=remark)
    draw = np.random.default_rng(0)
    lent = np.sort(np.concatenate([draw.permutation(rows)[: -(-len(rows) // round(1 / SHARE))] for rows in classes]))
    rest = np.setdiff1d(np.arange(len(train)), lent)
    remark = f"{found}: early stopping judges by {len(lent)} of the training rows, drawn by chance"
    return replace(parts, train=_taken(train, rest), valid=_joined(valid, _taken(train, lent)), remark=remark)


def _taken(rows: Rows, places: Ints) -> Rows:
    return replace(rows, **{name: getattr(rows, name)[places] for name in _PER_ROW})


def _joined(first: Rows, second: Rows) -> Rows:
    return replace(first, **{n: np.concatenate([getattr(first, n), getattr(second, n)]) for n in _PER_ROW})


_PER_ROW = ("dense", "categorical", "labels", "item", "users", "items")
