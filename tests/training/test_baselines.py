"""The two baselines against what they are by definition."""

import numpy as np
import pytest
from sklearn.feature_extraction import DictVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from training import baselines
from training.rows import encode_split
from training.variant import split_contract


@pytest.fixture(scope="module")
def parts(recipe, synthetic, within, tokenizer):
    contract = split_contract(recipe, synthetic.dataset, within, tokenizer).without_caption()
    return encode_split(synthetic.dataset, within, contract, None)


def test_the_item_mean_is_smoothed_to_the_overall_share(synthetic, within, parts):
    train = synthetic.dataset.interactions.iloc[within.train]
    grouped = train.groupby("item_id")["label"].agg(["sum", "count"])
    overall = float(train["label"].mean())
    expected = (grouped["sum"] + 5 * overall) / (grouped["count"] + 5)
    items = synthetic.dataset.interactions["item_id"].iloc[within.test]
    wanted = [expected.get(item, overall) for item in items]
    assert baselines.item_mean(parts) == pytest.approx(np.array(wanted), abs=1e-6)


def test_logistic_regression_equals_scikit_learns_on_named_ids(parts):
    def named(rows):
        return [{f"user {u}": 1, f"item {i}": 1} for u, i in zip(rows.users, rows.items, strict=True)]

    vectorizer = DictVectorizer()
    model = LogisticRegression(C=0.3, max_iter=300).fit(
        vectorizer.fit_transform(named(parts.train)), parts.train.labels
    )
    expected = model.predict_proba(vectorizer.transform(named(parts.test)))[:, 1]
    assert baselines.logistic_regression(parts, penalties=[0.3]) == pytest.approx(expected, abs=2e-3)


def test_logistic_regression_takes_the_penalty_that_validates_best(parts):
    scores = [baselines.logistic_regression(parts, penalties=[penalty]) for penalty in (1e-6, 0.3)]
    both = baselines.logistic_regression(parts, penalties=[1e-6, 0.3])
    assert any(np.array_equal(both, each) for each in scores)
    assert roc_auc_score(parts.test.labels, both) > 0.5


def test_no_penalty_to_choose_from_is_refused(parts):
    with pytest.raises(ValueError, match="penalties is empty"):
        baselines.logistic_regression(parts, penalties=[])
