import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from training.data import synthetic
from training.data.errors import DataError


@pytest.fixture(scope="module")
def planted() -> synthetic.Synthetic:
    return synthetic.generate(3, users=800, items=400, interactions=40_000, lift=0.06)


@pytest.fixture(scope="module")
def nothing() -> synthetic.Synthetic:
    return synthetic.generate(3, users=300, items=100, interactions=20_000, lift=0.0)


def test_the_same_seed_gives_the_same_data_and_another_seed_does_not(nothing: synthetic.Synthetic) -> None:
    again = synthetic.generate(3, users=300, items=100, interactions=20_000, lift=0.0)
    other = synthetic.generate(4, users=300, items=100, interactions=20_000, lift=0.0)
    assert again.dataset.digest == nothing.dataset.digest
    assert again.captions == nothing.captions
    assert other.dataset.digest != nothing.dataset.digest


def test_the_planted_lift_is_the_one_asked_for(planted: synthetic.Synthetic) -> None:
    assert planted.truth.lift == pytest.approx(0.06, abs=5e-4)
    assert planted.truth.strength > 0


def test_the_planted_lift_shows_in_the_drawn_labels(planted: synthetic.Synthetic) -> None:
    labels = planted.dataset.interactions["label"].to_numpy()
    informed = roc_auc_score(labels, planted.truth.with_captions)
    blind = roc_auc_score(labels, planted.truth.without_captions)
    assert informed - blind == pytest.approx(0.06, abs=0.015)
    assert roc_auc_score(labels, planted.truth.probabilities) > informed


def test_without_captions_the_best_score_is_the_chance_of_a_user_over_unseen_items(
    planted: synthetic.Synthetic,
) -> None:
    """Against a simulation that shares no code with the quadrature: many fresh items for one user."""
    rng = np.random.default_rng(0)
    truth, frame = planted.truth, planted.dataset.interactions
    tastes = _recovered_tastes(planted)
    row = int(np.argmax(truth.without_captions))
    user = frame["user_id"].iloc[row]
    segment = planted.dataset.users.set_index("user_id").loc[user, "segment"]
    liked = tastes[segment]
    caption = planted.captions[frame["item_id"].iloc[row]]
    effect = truth.with_captions[row] - truth.strength * liked[caption]
    fresh = (
        effect + truth.strength * rng.choice(list(liked.values()), 400_000) + rng.normal(0, synthetic.ITEM_SD, 400_000)
    )
    chance = float((1 / (1 + np.exp(-fresh))).mean())
    # Captions that the data set happens to hold stand in for all 720, hence the tolerance.
    assert truth.without_captions[row] == pytest.approx(chance, abs=0.03)


def _recovered_tastes(data: synthetic.Synthetic) -> dict[str, dict[str, float]]:
    """Per segment and caption: the mean of (log odds with captions, minus the user's mean) / strength."""
    frame = data.dataset.interactions.merge(data.dataset.users, on="user_id")
    frame["caption"] = frame["item_id"].map(data.captions)
    frame["odds"] = data.truth.with_captions
    frame["liked"] = (frame["odds"] - frame.groupby("user_id")["odds"].transform("mean")) / data.truth.strength
    means = frame.groupby(["segment", "caption"])["liked"].mean()
    return {segment: means[segment].to_dict() for segment in synthetic.SEGMENTS}


def test_nothing_is_planted_with_lift_zero(nothing: synthetic.Synthetic) -> None:
    truth = nothing.truth
    assert (truth.strength, truth.lift) == (0.0, 0.0)
    assert np.array_equal(truth.with_captions, truth.without_captions)
    frame = nothing.dataset.interactions
    odds = pd.Series(truth.with_captions).groupby(frame["user_id"])
    assert (odds.nunique() == 1).all()  # whatever the caption
    own = np.log(truth.probabilities / (1 - truth.probabilities)) - truth.with_captions
    assert pd.Series(own).groupby(frame["item_id"]).std().max() < 1e-9  # what is left belongs to the item's id


def test_cold_items_are_seen_in_the_last_quarter_only(planted: synthetic.Synthetic) -> None:
    frame = planted.dataset.interactions
    cold = frame["item_id"].isin(planted.cold_items)
    late = frame["timestamp"] >= synthetic.START + 0.75 * synthetic.PERIOD_SECONDS
    assert len(planted.cold_items) == 80
    assert not (cold & ~late).any()
    assert 0.4 < (cold & late).sum() / late.sum() < 0.6
    none_cold = synthetic.generate(1, users=50, items=20, interactions=500, lift=0.0, cold_share=0.0)
    assert none_cold.cold_items == frozenset()


def test_captions_are_text_that_names_four_things(planted: synthetic.Synthetic) -> None:
    assert set(planted.captions) == set(planted.dataset.items["item_id"])
    texts = {synthetic.caption_text(number) for number in range(720)}
    assert len(texts) == 720
    assert set(planted.captions.values()) <= texts
    assert synthetic.caption_text(0) == "a red fox by the sea at night"


def test_interactions_are_unique_and_in_time(planted: synthetic.Synthetic) -> None:
    frame = planted.dataset.interactions
    assert frame["timestamp"].is_unique
    assert frame["timestamp"].is_monotonic_increasing
    assert set(frame["label"].unique()) == {0.0, 1.0}
    assert set(planted.dataset.users["segment"]) == set(synthetic.SEGMENTS)


def test_expected_auc_agrees_with_a_sum_over_all_pairs() -> None:
    rng = np.random.default_rng(5)
    scores, chances = rng.integers(0, 12, 60).astype(float), rng.random(60)
    wins = (scores[:, None] > scores[None, :]) + 0.5 * (scores[:, None] == scores[None, :])
    weights = chances[:, None] * (1 - chances[None, :])
    np.fill_diagonal(weights, 0.0)
    assert synthetic.expected_auc(scores, chances) == pytest.approx((weights * wins).sum() / weights.sum(), rel=1e-12)


def test_expected_auc_of_certain_labels_is_the_auc() -> None:
    rng = np.random.default_rng(6)
    labels = rng.integers(0, 2, 500).astype(float)
    scores = rng.normal(size=500) + labels
    assert synthetic.expected_auc(scores, labels) == pytest.approx(roc_auc_score(labels, scores), rel=1e-12)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"users": 1}, "users is 1; expected at least 2"),
        ({"items": 9}, "items is 9; expected at least 10"),
        ({"interactions": 10**7}, "interactions is 10000000; expected at most 7776000"),
        ({"lift": -0.01}, "lift is -0.01; expected an AUC difference"),
        ({"lift": 0.49}, "lift is 0.49; with these tastes expected at most 0."),
        ({"cold_share": 0.9}, "cold_share is 0.9; expected 0 to 0.5"),
    ],
)
def test_what_cannot_be_made_is_refused(arguments: dict[str, float], message: str) -> None:
    with pytest.raises(DataError, match=message):
        synthetic.generate(0, **arguments)  # type: ignore[arg-type]
