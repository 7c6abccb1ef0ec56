"""What any ranker must be held against: the item's mean and a logistic regression on ids."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_matrix
from sklearn.linear_model import LogisticRegression

from training.metrics import auc
from training.rows import Parts, Rows

Scores = npt.NDArray[np.float64]
PENALTIES = (0.03, 0.1, 0.3, 1.0)
PRIOR_ROWS = 5.0


def item_mean(parts: Parts, prior_rows: float = PRIOR_ROWS) -> Scores:
    """The share of positives of each item in training, as if `prior_rows` more had the overall share: [test rows].

    An item without training rows gets the overall share.
    """
    overall = float(parts.train.labels.mean())
    places = max(int(part.item.max(initial=-1)) for part in (parts.train, parts.test)) + 1
    rows = np.bincount(parts.train.item, minlength=places)
    positives = np.bincount(parts.train.item, weights=parts.train.labels, minlength=places)
    means: Scores = (positives + prior_rows * overall) / (rows + prior_rows)
    return means[parts.test.item]


def logistic_regression(parts: Parts, penalties: Sequence[float] = PENALTIES) -> Scores:
    """Probabilities of an L2-penalised logistic regression on user id and item id, one weight each: [test rows].

    The penalty C is the one with the best validation AUC. Ids that training did not show have no weight.
    """
    user_names = _numbers(parts.train.users)
    item_names = _numbers(parts.train.items)
    train, valid, test = (_one_hot(part, user_names, item_names) for part in (parts.train, parts.valid, parts.test))
    best: tuple[float, Scores] | None = None
    for penalty in penalties:
        model = LogisticRegression(C=penalty, solver="lbfgs", max_iter=300, tol=1e-4)
        model.fit(train, parts.train.labels)
        value = auc(parts.valid.labels, model.decision_function(valid)) if valid.shape[0] else None
        if best is None or (value or 0.0) > best[0]:
            best = (value or 0.0, model.predict_proba(test)[:, 1].astype(np.float64))
    if best is None:
        raise ValueError("penalties is empty; expected at least one value of C")
    return best[1]


def _numbers(names: npt.NDArray[Any]) -> dict[str, int]:
    return {name: number for number, name in enumerate(sorted(set(names)))}


def _one_hot(rows: Rows, users: dict[str, int], items: dict[str, int]) -> csr_matrix:
    """[rows, users + items]; an id that is not known has no column."""
    user = np.fromiter((users.get(name, -1) for name in rows.users), dtype=np.int64, count=len(rows))
    item = np.fromiter((items.get(name, -1) for name in rows.items), dtype=np.int64, count=len(rows))
    columns = np.stack([user, np.where(item >= 0, item + len(users), -1)], axis=1).ravel()
    known = columns >= 0
    places = np.repeat(np.arange(len(rows)), 2)[known]
    shape = (len(rows), len(users) + len(items))
    return csr_matrix((np.ones(len(places)), (places, columns[known])), shape=shape)
