"""Made-up interactions in which what captions are worth is known, because it was put there.

A user u of segment g sees an item i whose caption names a colour, a thing, a place and a manner. With probability
`sigmoid(BIAS + a_u + b_i + strength * t[g, caption_i])` the label is 1: a_u and b_i are normal effects of the ids, t is
what the segment likes (mean 0 and variance 1 over captions). Who sees what is independent of all of these.

The lift is defined for an item without history, whose id says nothing: the best predictor then knows a_u, g and the
caption, or a_u and g alone. (Of an item with history the id alone can tell everything in the end, as it determines the
caption: no lift is promised there.)
"""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from training.data.dataset import Dataset
from training.data.errors import DataError

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

COLOURS = ("red", "blue", "green", "yellow", "white", "black")
THINGS = ("fox", "boat", "tree", "house", "car", "bird", "lamp", "horse")
PLACES = ("by the sea", "in the snow", "in a city", "in the forest", "on a hill")
MANNERS = ("at night", "by day", "in the rain")
SEGMENTS = ("north", "east", "south", "west")
BIAS = -0.2
USER_SD = 0.6
ITEM_SD = 0.5
START = 1_700_000_000  # 2023-11-14, UTC
PERIOD_SECONDS = 90 * 86400

_CAPTIONS = tuple(itertools.product(COLOURS, THINGS, PLACES, MANNERS))
_MAX_STRENGTH = 12.0
# Nodes and weights of the 5-point rule for a standard normal variable (Abramowitz and Stegun,
# table 25.10, rescaled).
_GAUSS_HERMITE = (
    (-2.8569700138728056, 0.011257411327720688),
    (-1.355626179974266, 0.22207592200561266),
    (0.0, 0.5333333333333333),
    (1.355626179974266, 0.22207592200561266),
    (2.8569700138728056, 0.011257411327720688),
)
_POPULATION = 50_000
_LATE = 0.75  # cold items appear in the last quarter of the period,
_COLD_CHANCE = 0.5  # in which they make half of what is seen


@dataclass(frozen=True)
class Truth:
    """What is known about a synthetic data set. All AUCs are expectations over labels.

    Attributes:
        strength: the factor of the captions in the log odds; 0 in a data set without lift.
        auc_with_captions, auc_without_captions: of the best predictors for an item without history, in the
            population that the users come from (Monte Carlo over 50,000 pairs; standard error about 0.002
            each, much less for their difference).
        probabilities: float64 [interactions], the true probability of label 1 (everything known).
        with_captions, without_captions: float64 [interactions], scores of the two best predictors, for AUCs
            on any subset of rows.
    """

    strength: float
    auc_with_captions: float
    auc_without_captions: float
    probabilities: Floats
    with_captions: Floats
    without_captions: Floats

    @property
    def lift(self) -> float:
        """AUC with captions minus AUC without."""
        return self.auc_with_captions - self.auc_without_captions


@dataclass(frozen=True)
class Synthetic:
    """A data set, its captions by item id, the ids of cold items (seen in the last quarter only), the
    truth.
    """

    dataset: Dataset
    captions: Mapping[str, str]
    cold_items: frozenset[str]
    truth: Truth


@dataclass(frozen=True)
class _World:
    """Everything drawn: per user its segment and effect, per item its caption's number and effect, tastes
    [segment, caption].
    """

    segments: Ints
    user_effects: Floats
    captions: Ints
    item_effects: Floats
    tastes: Floats


def generate(
    seed: int,
    users: int = 1000,
    items: int = 500,
    interactions: int = 50_000,
    lift: float = 0.05,
    *,
    cold_share: float = 0.2,
) -> Synthetic:
    """Draw a data set whose captions are worth `lift` in AUC on items without history; the same arguments
    give the same bytes.

    Args:
        lift: 0 plants nothing at all (labels do not depend on captions), for tests that must find nothing.
        cold_share: share of the items that appear only in the last quarter of the period.

    Raises:
        DataError: a count is too small, or no strength reaches that lift.
    """
    _check(users, items, interactions, lift, cold_share)
    rng = np.random.default_rng(seed)
    world = _draw(rng, users, items)
    strength = _strength(world.tastes, lift)
    cold = round(items * cold_share)
    times = np.sort(rng.choice(PERIOD_SECONDS, size=interactions, replace=False))
    who = rng.integers(users, size=interactions)
    what = _seen_items(rng, times, items, cold)
    probabilities = sigmoid(_log_odds(world, strength, who, what) + world.item_effects[what])
    labels = (rng.random(interactions) < probabilities).astype(np.float32)
    population = _Population.draw(world.tastes)
    scored = _scores(world.tastes, strength, world.segments[who], world.user_effects[who], world.captions[what])
    truth = Truth(strength, *population.aucs(strength), probabilities, *scored)
    item_ids = [f"i{number:05d}" for number in range(items)]
    dataset = Dataset.of(
        pd.DataFrame(
            {
                "user_id": [f"u{number:05d}" for number in who],
                "item_id": [item_ids[number] for number in what],
                "label": labels,
                "timestamp": times.astype(np.int64) + START,
            }
        ),
        pd.DataFrame({"item_id": item_ids}),
        pd.DataFrame(
            {
                "user_id": [f"u{number:05d}" for number in range(users)],
                "segment": [SEGMENTS[number] for number in world.segments],
            }
        ),
    )
    captions = {item: caption_text(int(number)) for item, number in zip(item_ids, world.captions, strict=True)}
    return Synthetic(dataset, captions, frozenset(item_ids[items - cold :]), truth)


def caption_text(number: int) -> str:
    """The text of one of the 720 captions."""
    colour, thing, place, manner = _CAPTIONS[number]
    return f"a {colour} {thing} {place} {manner}"


def expected_auc(scores: Floats, probabilities: Floats) -> float:
    """AUC of scores [n] in expectation over labels drawn with the given probabilities [n].

    The chance that a positive row scores above a negative one, ties counting half, where row i is positive
    with weight p_i and negative with weight 1 - p_i: `sum over i != j of p_i (1 - p_j) ([s_i > s_j] + [s_i =
    s_j] / 2)`, divided by the sum of the weights.
    """
    order = np.argsort(scores, kind="stable")
    sorted_scores, positive = scores[order], probabilities[order]
    negative = 1.0 - positive
    below = np.concatenate(([0.0], np.cumsum(negative)))
    first = np.searchsorted(sorted_scores, sorted_scores, side="left")
    last = np.searchsorted(sorted_scores, sorted_scores, side="right")
    own = positive * negative
    above = float(np.sum(positive * (below[first] + below[last]) / 2.0 - own / 2.0))
    return above / float(positive.sum() * negative.sum() - own.sum())


def sigmoid(log_odds: Floats) -> Floats:
    """1 / (1 + exp(-x)), without overflow."""
    probabilities: Floats = 0.5 * (1.0 + np.tanh(0.5 * log_odds))
    return probabilities


@dataclass(frozen=True)
class _Population:
    """Independent pairs of a user and an unseen item, always the same ones: AUC is then a smooth function of
    strength.
    """

    tastes: Floats
    segments: Ints
    user_effects: Floats
    captions: Ints
    item_effects: Floats

    @classmethod
    def draw(cls, tastes: Floats) -> "_Population":
        rng = np.random.default_rng(20230717)
        return cls(
            tastes,
            rng.integers(len(SEGMENTS), size=_POPULATION),
            rng.normal(0.0, USER_SD, _POPULATION),
            rng.integers(len(_CAPTIONS), size=_POPULATION),
            rng.normal(0.0, ITEM_SD, _POPULATION),
        )

    def aucs(self, strength: float) -> tuple[float, float]:
        """With captions, without captions."""
        liked = strength * self.tastes[self.segments, self.captions]
        probabilities = sigmoid(BIAS + self.user_effects + liked + self.item_effects)
        scores = _scores(self.tastes, strength, self.segments, self.user_effects, self.captions)
        return expected_auc(scores[0], probabilities), expected_auc(scores[1], probabilities)

    def lift(self, strength: float) -> float:
        """The difference of the two."""
        informed, blind = self.aucs(strength)
        return informed - blind


def _check(users: int, items: int, interactions: int, lift: float, cold_share: float) -> None:
    for name, value, least in (("users", users, 2), ("items", items, 10), ("interactions", interactions, 100)):
        if value < least:
            raise DataError(f"synthetic data: {name} is {value}; expected at least {least}")
    if interactions > PERIOD_SECONDS:
        raise DataError(f"synthetic data: interactions is {interactions}; expected at most {PERIOD_SECONDS}")
    if not 0.0 <= lift < 0.5:
        raise DataError(f"synthetic data: lift is {lift}; expected an AUC difference from 0 to below 0.5")
    if not 0.0 <= cold_share <= 0.5:
        raise DataError(f"synthetic data: cold_share is {cold_share}; expected 0 to 0.5")


def _draw(rng: np.random.Generator, users: int, items: int) -> _World:
    return _World(
        segments=rng.integers(len(SEGMENTS), size=users),
        user_effects=rng.normal(0.0, USER_SD, users),
        captions=rng.integers(len(_CAPTIONS), size=items),
        item_effects=rng.normal(0.0, ITEM_SD, items),
        tastes=_tastes(rng),
    )


def _tastes(rng: np.random.Generator) -> Floats:
    """[segments, captions]: the sum of the four words' effects, half shared by all segments; standardised."""
    total = np.zeros((len(SEGMENTS), len(_CAPTIONS)))
    for place, words in enumerate((COLOURS, THINGS, PLACES, MANNERS)):
        effects = rng.normal(size=(1, len(words))) + rng.normal(size=(len(SEGMENTS), len(words)))
        total += effects[:, [words.index(caption[place]) for caption in _CAPTIONS]]
    standard: Floats = (total - total.mean(axis=1, keepdims=True)) / total.std(axis=1, keepdims=True)
    return standard


def _seen_items(rng: np.random.Generator, times: Ints, items: int, cold: int) -> Ints:
    """Popularity falls as 1 / sqrt(rank) among items that were there from the start; cold items are equally
    popular.
    """
    warm = items - cold
    weights = 1.0 / np.sqrt(np.arange(1, warm + 1))
    seen = rng.choice(warm, size=len(times), p=weights / weights.sum())
    if cold == 0:
        return seen
    late = (times >= _LATE * PERIOD_SECONDS) & (rng.random(len(times)) < _COLD_CHANCE)
    return np.where(late, warm + rng.integers(cold, size=len(times)), seen)


def _log_odds(world: _World, strength: float, who: Ints, what: Ints) -> Floats:
    liked = world.tastes[world.segments[who], world.captions[what]]
    odds: Floats = BIAS + world.user_effects[who] + strength * liked
    return odds


def _scores(
    tastes: Floats, strength: float, segments: Ints, user_effects: Floats, captions: Ints
) -> tuple[Floats, Floats]:
    """The best scores for an unseen item: with its caption, and averaged over all captions.

    Averaging over the item's own effect keeps the order of the first, so that the log odds serve; the second
    is the mean probability.
    """
    informed = BIAS + user_effects + strength * tastes[segments, captions]
    if strength == 0.0:
        return informed, informed  # the same numbers, and not numbers that agree but for rounding
    return informed, _averaged(tastes, strength, segments, user_effects)


def _averaged(tastes: Floats, strength: float, segments: Ints, user_effects: Floats) -> Floats:
    """P(label = 1 | user).

    Over captions exactly, over the item's effect by Gauss-Hermite quadrature, between grid points by
    interpolation.
    """
    grid = np.linspace(-6.0 * USER_SD, 6.0 * USER_SD, 49)
    score = np.empty(len(segments))
    for segment in range(len(SEGMENTS)):
        odds = BIAS + grid[:, None] + strength * tastes[segment][None, :]
        means = [weight * sigmoid(odds + ITEM_SD * node).mean(axis=1) for node, weight in _GAUSS_HERMITE]
        mean = np.sum(means, axis=0)
        mine = segments == segment
        score[mine] = np.interp(user_effects[mine], grid, mean)
    return score


def _strength(tastes: Floats, lift: float) -> float:
    """The factor that gives the lift, by bisection; exactly 0 for no lift."""
    if lift == 0.0:
        return 0.0
    population = _Population.draw(tastes)
    low, high = 0.0, 0.5
    while (reached := population.lift(high)) < lift:
        if high >= _MAX_STRENGTH:
            raise DataError(f"synthetic data: lift is {lift}; with these tastes expected at most {reached:.3f}")
        low, high = high, 2.0 * high
    for _ in range(12):
        middle = (low + high) / 2.0
        low, high = (middle, high) if population.lift(middle) < lift else (low, middle)
    return (low + high) / 2.0
