"""The lift on synthetic data with a planted one, and everything that the report promises."""

import json
import multiprocessing
from itertools import pairwise

import numpy as np
import pytest
import torch

from models.bundle import read_bundle
from training import lift
from training.data.splits import split
from training.data.synthetic import generate
from training.folds import word_ids
from training.lift import Scored
from training.loop import TrainingError
from training.metrics import auc
from training.recipe import BootstrapSettings, SplitChoice, parse_recipe
from training.run import measure_lift, write_bundles


@pytest.fixture(scope="module")
def told():
    return []


@pytest.fixture(scope="module")
def measured(recipe, synthetic, captions, tokenizer, told):
    words = {item: text.split() for item, text in synthetic.captions.items()}
    return measure_lift(recipe, synthetic.dataset, captions, tokenizer, words=words, on_progress=told.append)


def test_every_split_has_every_variant_in_the_order_of_the_table(measured):
    assert [report.split for report in measured.report.splits] == ["within_user", "new_items"]
    for report in measured.report.splits:
        assert [row.variant for row in report.rows] == [
            lift.ITEM_MEAN,
            lift.LOGISTIC,
            lift.WITHOUT,
            lift.WITH,
            lift.REFERENCE,
        ]
        assert [row.seeds for row in report.rows] == [1, 1, 2, 2, 2]


def test_folds_are_joined_and_users_or_items_resampled(measured, synthetic):
    within, new = measured.report.splits
    assert (within.resampled, new.resampled) == ("users", "items")
    folds = [split(synthetic.dataset, "new_items", fold=fold) for fold in (0, 1)]
    assert new.test_rows == sum(len(fold.test) for fold in folds) == new.lift.rows
    assert new.lift.clusters == 16  # two fifths of 40 items


def test_new_items_are_all_cold_and_slices_add_up(measured):
    within, new = measured.report.splits
    assert new.slices["cold items"].rows == new.lift.rows
    assert new.slices["warm items"].rows == 0
    assert new.slices["warm items"].verdict is None
    for report in (within, new):
        assert report.slices["cold items"].rows + report.slices["warm items"].rows == report.test_rows
        assert report.slices["caption present"].rows + report.slices["caption missing"].rows == report.test_rows
    assert within.slices["caption missing"].rows > 0


def test_the_item_mean_knows_nothing_of_wholly_new_items(measured):
    assert 0.35 < measured.report.splits[1].rows[0].auc < 0.65  # a constant per fold


def test_the_difference_is_that_of_the_rows_in_the_table(measured):
    for report in measured.report.splits:
        by_name = {row.variant: row for row in report.rows}
        difference = by_name[lift.WITH].auc - by_name[lift.WITHOUT].auc
        assert report.lift.difference == pytest.approx(difference, abs=1e-12)
        assert report.lift.low <= report.lift.high


def test_progress_reaches_the_number_of_runs_and_never_falls(told, measured, recipe):
    total = 3 * 3 * 2  # one fold and two folds, three variants, two seeds
    assert told[-1].done == told[-1].total == total
    assert all(before.done <= after.done for before, after in pairwise(told))


def test_the_report_goes_through_json(measured):
    again = lift.LiftReport.model_validate_json(json.dumps(measured.report.model_dump(mode="json"), allow_nan=False))
    assert again == measured.report


def test_the_served_models_are_the_first_seeds_of_the_first_split(measured, synthetic):
    assert set(measured.served) == {"ranker", "ranker-ids"}
    ranker, ablation = measured.served["ranker"], measured.served["ranker-ids"]
    assert ablation.contract == ranker.contract.without_caption()
    rows = split(synthetic.dataset, "within_user").test
    labels = synthetic.dataset.interactions["label"].to_numpy()[rows]
    row = measured.report.splits[0].rows[3]
    assert abs(auc(labels, ranker.test_scores) - row.auc) <= 2 * row.auc_spread


def test_bundles_hold_the_models_their_contracts_and_the_report(measured, tokenizer, tmp_path):
    written = write_bundles(measured, tmp_path, TOKENIZER, created="2026-11-22T20:00:00+00:00", git_revision="0123abc")
    ranker, ablation = read_bundle(tmp_path / "ranker"), read_bundle(tmp_path / "ranker-ids")
    assert written["ranker"] == ranker
    assert ranker.tokenizer == TOKENIZER
    assert ablation.tokenizer is None
    assert ranker.metrics["lift"] == measured.report.model_dump(mode="json")
    assert ranker.metrics["parity"] <= 1e-5
    assert (ranker.manifest.git_revision, ranker.manifest.data_digest) == ("0123abc", measured.report.data_digest)


def test_unfinished_measuring_goes_on_where_it_stopped(recipe, synthetic, captions, tokenizer, tmp_path, measured):
    small = recipe.model_copy(update={"splits": (SplitChoice(name="within_user"),)})
    first = measure_lift(small, synthetic.dataset, captions, tokenizer, checkpoints=tmp_path)
    assert len(list(tmp_path.glob("*.safetensors"))) == 4  # beside each the state before it
    epochs = []
    again = measure_lift(
        small, synthetic.dataset, captions, tokenizer, checkpoints=tmp_path, on_progress=lambda p: epochs.append(p.done)
    )
    assert all(done == int(done) for done in epochs)  # no epoch was trained
    assert epochs[0] == 4, "what is kept is told at once, not that nothing is done"
    newest = sorted(path for path in tmp_path.glob("*.safetensors") if "previous" not in path.name)
    for file in newest[:2]:
        for path in tmp_path.glob(f"{file.stem}*"):
            path.unlink()
    half: list[float] = []
    measure_lift(
        small, synthetic.dataset, captions, tokenizer, checkpoints=tmp_path, on_progress=lambda p: half.append(p.done)
    )
    assert (half[0], half[-1]) == (2, 4)
    assert half == sorted(half), "it never falls behind what was told"
    rows = [report.splits[0].rows for report in (first.report, again.report, measured.report)]
    assert rows[0] == rows[1] == rows[2][:4]


def test_without_captions_the_ranker_is_its_own_ablation_and_the_lift_is_nothing(recipe, synthetic, tokenizer):
    small = recipe.model_copy(update={"splits": (SplitChoice(name="within_user"),)})
    told = []
    measured = measure_lift(small, synthetic.dataset, {}, tokenizer, on_progress=told.append)
    assert told[-1].total == 2  # a run per seed, not two
    gain = measured.report.splits[0].lift
    assert (gain.difference, gain.low, gain.high, gain.verdict) == (0.0, 0.0, 0.0, "not distinguishable")
    assert measured.served["ranker"] is measured.served["ranker-ids"]
    assert measured.served["ranker"].contract.caption is None


def test_workers_change_the_time_and_not_one_bit(recipe, synthetic, captions, tokenizer, measured):
    small = recipe.model_copy(update={"splits": (SplitChoice(name="within_user"),), "workers": 2})
    told = []
    beside = measure_lift(small, synthetic.dataset, captions, tokenizer, on_progress=told.append)
    assert beside.report.splits[0].rows == measured.report.splits[0].rows[:4]
    assert [progress.done for progress in told] == [0, 1, 2, 3, 4]
    for name, result in beside.served.items():
        weights, expected = result.model.state_dict(), measured.served[name].model.state_dict()
        assert weights.keys() == expected.keys()
        assert all(torch.equal(weights[key], expected[key]) for key in weights)


def test_a_failing_worker_ends_the_measuring_and_every_worker(recipe, synthetic, captions, tokenizer):
    wild = recipe.training.model_copy(update={"learning_rate": 1e20})
    broken = recipe.model_copy(update={"workers": 2, "training": wild})
    with pytest.raises(TrainingError, match="lower learning_rate"):
        measure_lift(broken, synthetic.dataset, captions, tokenizer)
    assert multiprocessing.active_children() == []


PLANTED = """
name: planted
ranker: {architecture: dcn, embedding: {size: 8}, deep: [16], dropout: 0.1}
training: {batch_size: 512, epochs: 12, patience: 3, learning_rate: 0.01, threads: 1}
caption: {max_tokens: 16, buckets: 2000}
hide: [{share: 0.2, features: [item_id, popularity]}]
splits: [{name: new_items}]
"""


def planted(seed, gain, tokenizer):
    made = generate(seed=seed, users=200, items=400, interactions=16_000, lift=gain)
    captions = word_ids({item: text.split() for item, text in made.captions.items()})
    measured = measure_lift(parse_recipe(PLANTED), made.dataset, captions, tokenizer)
    return measured.report.splits[0].lift, made.truth


def test_a_planted_lift_is_found_and_not_exaggerated(tokenizer):
    found, truth = planted(3, 0.1, tokenizer)
    assert found.verdict == "higher"
    assert 0.02 < found.difference < truth.lift + 0.03


def test_no_lift_is_found_where_none_was_planted(tokenizer):
    found, _ = planted(3, 0.0, tokenizer)
    assert found.verdict == "not distinguishable"
    assert abs(found.difference) < 0.02


def test_a_slice_of_one_class_has_no_difference_and_no_verdict():
    scores = np.random.default_rng(1).random((2, 30))
    names = np.arange(30).astype(str)
    rows = Scored(np.ones(30), names, names, np.zeros(30), np.ones(30, bool), {lift.WITHOUT: scores, lift.WITH: scores})
    gain = lift.gain(rows, "users", BootstrapSettings())
    assert (gain.rows, gain.positives, gain.difference, gain.verdict) == (30, 30, None, None)


TOKENIZER = b'{"a tokenizer.json": "its digest is all that training needs"}'


def test_captions_that_lose_their_end_are_counted_in_the_report(measured, captions, recipe):
    """Every token begins a word here, so the first word that is lost is the one behind max_tokens."""
    cut = measured.report.captions_cut
    lengths = [len(ids) for ids in captions.values()]
    assert (cut.captions, cut.cut) == (len(lengths), sum(length > recipe.caption.max_tokens for length in lengths))
    again = lift.LiftReport.model_validate_json(measured.report.model_dump_json())
    assert again.captions_cut == cut
    old = {name: value for name, value in measured.report.model_dump().items() if name != "captions_cut"}
    assert lift.LiftReport.model_validate(old).captions_cut is None
