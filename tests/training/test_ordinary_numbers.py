"""Ordinary numeric columns do not stand in the way of training: the ranker learns what ids alone allow."""

import numpy as np
import pandas as pd
import pytest

from training import lift
from training.data.dataset import Dataset
from training.recipe import parse_recipe
from training.run import measure_lift

USERS, ITEMS, EACH = 300, 120, 60
RECIPE = """
name: own
ranker: {architecture: dcn, embedding: {size: 8}, deep: [32]}
training: {batch_size: 1024, epochs: 8, learning_rate: 0.01, threads: 1}
bootstrap: {resamples: 100}
seeds: [1]
"""


def shop() -> Dataset:
    """300 users of exactly 60 rows each, whose taste and whose items' worth decide; numbers that say nothing."""
    draw = np.random.default_rng(0)
    user = np.repeat(np.arange(USERS), EACH)
    item = np.concatenate([draw.choice(ITEMS, EACH, replace=False) for _ in range(USERS)])
    chance = 1 / (1 + np.exp(-draw.normal(size=USERS)[user] - draw.normal(size=ITEMS)[item]))
    interactions = pd.DataFrame(
        {
            "user_id": [f"u{n}" for n in user],
            "item_id": [f"i{n}" for n in item],
            "label": (draw.random(len(user)) < chance).astype(int),
            "timestamp": draw.permutation(1_600_000_000 + 60 * np.arange(len(user))),
        }
    )
    items = pd.DataFrame(
        {
            "item_id": [f"i{n}" for n in range(ITEMS)],
            "always": 123456789,
            "article": 4_000_000_000_000 + np.arange(ITEMS),
            "price": 14.62,
            "sum": 0.3 + draw.integers(0, 2, ITEMS) * 2.0**-54,
            "stock": np.where(np.arange(ITEMS) == 5, 1e12, draw.uniform(10, 100, ITEMS)),
        }
    )
    return Dataset.of(interactions, items, pd.DataFrame({"user_id": [f"u{n}" for n in range(USERS)]}))


def test_the_ranker_learns_about_what_a_logistic_regression_does(tokenizer):
    report = measure_lift(parse_recipe(RECIPE), shop(), {}, tokenizer).report.splits[0]
    rows = {row.variant: row for row in report.rows}
    assert rows[lift.LOGISTIC].auc == pytest.approx(0.79, abs=0.005)
    assert rows[lift.WITHOUT].auc > rows[lift.LOGISTIC].auc - 0.02
    assert rows[lift.WITHOUT].auc > rows[lift.ITEM_MEAN].auc + 0.05
    assert rows[lift.WITHOUT].log_loss < 0.65
