"""A ranker that is far below the item's mean is said so, and neither published nor placed without --force."""

from dataclasses import replace

import numpy as np
import pytest

from models.bundle import UnfitError, read_bundle
from training import lift
from training.bootstrap import MIN_CLUSTERS
from training.lift import Scored
from training.recipe import BootstrapSettings, SplitChoice
from training.run import Measured, measure_lift, write_bundles

BOOTSTRAP = BootstrapSettings(resamples=300)
TOKENIZER = b'{"a tokenizer.json": "its digest is all that training needs"}'


def scored(ranker, baseline, users=300, each=60, seed=0):
    """Test rows whose truth is known; `ranker` and `baseline` are the shares of it that each has seen."""
    draw = np.random.default_rng(seed)
    truth = draw.normal(size=users * each)
    labels = (draw.random(len(truth)) < 1 / (1 + np.exp(-truth))).astype(np.float32)
    names = np.repeat(np.arange(users), each).astype(str)

    def seen(share):
        return (share * truth + (1 - share) * draw.normal(size=len(truth)))[None]

    scores = {lift.ITEM_MEAN: seen(baseline), lift.LOGISTIC: seen(baseline)}
    scores |= {lift.WITHOUT: seen(baseline), lift.WITH: seen(ranker) if np.isscalar(ranker) else ranker(len(truth))}
    return Scored(labels, names, names, np.ones(len(truth)), np.ones(len(truth), bool), scores)


def judged(rows):
    found = lift.beside_baselines(rows, "users", BOOTSTRAP)
    return found, lift.unfit_rankers(rows, found)


def test_a_ranker_that_knows_nothing_is_unfit():
    found, unfit = judged(scored(0.0, 0.6))
    assert set(unfit) == {lift.WITH}
    assert unfit[lift.WITH].startswith("the ranker with captions is far below the item mean: AUC 0.50")
    assert [each.verdict for each in found if each.variant == lift.WITH] == ["lower", "lower"]


def test_a_ranker_of_one_score_is_unfit_on_however_few_rows():
    _, unfit = judged(scored(lambda rows: np.full((1, rows), 0.5), 0.6, users=3, each=5))
    assert unfit == {lift.WITH: "the ranker with captions gives every test row the same score, 0.5"}


def test_a_ranker_that_is_a_little_below_is_said_so_and_stays_fit():
    found, unfit = judged(scored(0.58, 0.6, users=2000, seed=3))
    below = [each for each in found if each.variant == lift.WITH]
    assert {each.verdict for each in below} == {"lower"}
    assert all(0 < -each.difference < 0.02 for each in below)
    assert unfit == {}
    assert str(below[0]).startswith("the ranker with captions is below the item mean: AUC 0.")


def test_too_few_users_are_no_verdict():
    found, unfit = judged(scored(0.0, 0.9, users=MIN_CLUSTERS - 1))
    assert {each.verdict for each in found} == {"too few to tell"}
    assert unfit == {}


def test_a_ranker_without_any_caption_is_judged_once_and_both_of_its_names_are_unfit():
    rows = scored(0.0, 0.6)
    alone = replace(rows, scores={**rows.scores, lift.WITHOUT: rows.scores[lift.WITH]})
    found, unfit = judged(alone)
    assert {each.variant for each in found} == {lift.WITHOUT}
    assert set(unfit) == {lift.WITH, lift.WITHOUT}
    (reason,) = set(unfit.values())
    assert reason.startswith("the ranker without captions is far below the item mean: AUC 0.50")


def test_equal_rankers_are_hardly_ever_unfit():
    assert [judged(scored(0.5, 0.5, users=60, each=10, seed=seed))[1] for seed in range(20)] == [{}] * 20


@pytest.fixture(scope="module")
def broken(recipe, synthetic, captions, tokenizer):
    """A measured run, its first split said to be unfit with captions."""
    small = recipe.model_copy(update={"splits": (SplitChoice(name="within_user"),), "seeds": (1,)})
    measured = measure_lift(small, synthetic.dataset, captions, tokenizer)
    first = measured.report.splits[0].model_copy(update={"unfit": {lift.WITH: "the ranker is far below"}})
    return Measured(measured.report.model_copy(update={"splits": (first,)}), measured.served)


def test_the_bundle_says_so_and_is_written(broken, tmp_path):
    bundles = write_bundles(broken, tmp_path, TOKENIZER, created="2026-11-22T20:00:00+00:00", git_revision="unknown")
    assert {name: bundle.metrics["unfit"] for name, bundle in bundles.items()} == {
        "ranker": "the ranker is far below",
        "ranker-ids": None,
    }
    bundles["ranker-ids"].require_fit()
    bundle = read_bundle(tmp_path / "ranker")
    bundle.require_fit(force=True)
    with pytest.raises(UnfitError, match=r"ranker: the ranker is far below; look at the columns .* or give --force"):
        bundle.require_fit()
