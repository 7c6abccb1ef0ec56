"""Splits that leave training, validation or test one class, or nothing."""

import numpy as np
import pandas as pd
import pytest

from training import lift
from training.data.dataset import Dataset
from training.data.errors import SplitError
from training.data.splits import split
from training.recipe import parse_recipe
from training.rows import encode_split
from training.run import measure_lift
from training.validation import with_validation
from training.variant import split_contract

RECIPE = """
name: odd
ranker: {architecture: dcn, embedding: {size: 4}, deep: [8]}
training: {batch_size: 64, epochs: 3, threads: 1}
bootstrap: {resamples: 100}
seeds: [1]
splits: [{name: SPLIT}]
"""


def dataset(users, each, label):
    """`each` rows of every user, one a second, labels by `label(user, position)`."""
    rows = [(f"u{u}", f"i{(u + n) % 20}", label(u, n), 1000 + u + users * n) for n in range(each) for u in range(users)]
    frame = pd.DataFrame(rows, columns=["user_id", "item_id", "label", "timestamp"])
    return Dataset.of(frame, frame[["item_id"]].drop_duplicates(), frame[["user_id"]].drop_duplicates())


def recipe(name="within_user"):
    return parse_recipe(RECIPE.replace("SPLIT", name))


def parts_of(data, tokenizer, name="within_user"):
    part = split(data, name)
    contract = split_contract(recipe(), data, part, tokenizer).without_caption()
    return encode_split(data, part, contract, None)


def mixed(user, position):
    return (user + position) % 3 == 0


def test_without_validation_rows_a_tenth_of_each_class_of_training_is_lent_and_said(tokenizer):
    parts = parts_of(dataset(40, 7, mixed), tokenizer)  # a user of fewer than 10 rows has none in validation
    assert (len(parts.train), len(parts.valid), len(parts.test)) == (240, 0, 40)
    lent = with_validation(parts, "within_user")
    positives = int(parts.train.labels.sum())
    assert lent.valid.labels.sum() == -(-positives // 10)
    assert len(lent.valid) == -(-positives // 10) + -(-(240 - positives) // 10)
    assert (len(lent.train) + len(lent.valid), len(lent.test)) == (240, 40)
    rows = {(u, i) for u, i in zip(lent.train.users, lent.train.items, strict=True)}
    assert not rows & set(zip(lent.valid.users, lent.valid.items, strict=True))
    assert (
        lent.remark
        == f"no validation rows: early stopping judges by {len(lent.valid)} of the training rows, drawn by chance"
    )
    again = with_validation(parts, "within_user")
    assert np.array_equal(again.valid.users, lent.valid.users)


def test_validation_rows_of_one_class_stay_and_get_company(tokenizer):
    data = dataset(40, 10, lambda user, position: True if position == 7 else mixed(user, position))
    lent = with_validation(parts_of(data, tokenizer), "within_user")
    assert set(lent.valid.labels) == {0.0, 1.0}
    assert lent.valid.labels.sum() > 40
    assert lent.remark.startswith("all 40 validation rows have label 1: early stopping judges by")


def test_validation_rows_of_both_classes_are_left_alone(tokenizer):
    parts = parts_of(dataset(40, 10, mixed), tokenizer)
    assert with_validation(parts, "within_user") is parts
    assert parts.remark == ""


def test_training_rows_of_one_class_are_refused_in_a_sentence(tokenizer):
    data = dataset(40, 10, lambda user, position: position >= 8)
    message = r"split within_user: all 280 training rows have label 0; expected both 0 and 1: choose another split"
    with pytest.raises(SplitError, match=message):
        measure_lift(recipe(), data, {}, tokenizer)


def test_where_training_cannot_lend_the_last_epoch_is_kept_and_said(tokenizer):
    data = dataset(40, 7, lambda user, position: (user, position) == (3, 0) or position == 6)
    measured = measure_lift(recipe(), data, {}, tokenizer)
    (remark,) = (text for text in measured.report.splits[0].remarks if "validation" in text)
    assert remark.endswith("training has too few of one label to lend some: no early stopping, the last epoch is kept")
    fitted = measured.served["ranker"].fitted
    assert (fitted.epochs, fitted.best_epoch, fitted.valid_auc) == (3, 3, None)


def test_early_stopping_works_on_lent_rows_and_the_report_says_so(tokenizer):
    measured = measure_lift(recipe(), dataset(40, 7, mixed), {}, tokenizer)
    assert measured.served["ranker"].fitted.valid_auc is not None
    report = measured.report.splits[0]
    assert report.train_rows + report.valid_rows == 240
    assert any(text.startswith("no validation rows: early stopping") for text in report.remarks)


def test_test_rows_of_one_class_have_no_auc_no_lift_and_no_standing(tokenizer):
    data = dataset(40, 10, lambda user, position: False if position >= 8 else mixed(user, position))
    report = measure_lift(recipe(), data, {}, tokenizer).report.splits[0]
    assert (report.lift.difference, report.lift.verdict, report.standings, report.unfit) == (None, None, (), {})
    assert {row.auc for row in report.rows} == {None}


@pytest.mark.parametrize("name", ["within_user", "global_time"])
def test_one_user_is_trained_on_and_is_no_verdict(name, tokenizer):
    report = measure_lift(recipe(name), dataset(1, 100, mixed), {}, tokenizer).report.splits[0]
    assert (report.lift.clusters, report.lift.deciding, report.lift.verdict) == (1, 1, "too few to tell")
    assert {each.verdict for each in report.standings} == {"too few to tell"}
    assert {row.variant for row in report.rows} >= {lift.WITH, lift.WITHOUT}
