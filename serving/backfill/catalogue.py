"""The catalogue as a shard sees it: its items with picture and features, and for the first shard the users."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

from models.items import FeatureValue, Origin
from training.data import features, splits, tables
from training.data.dataset import Dataset
from training.data.splits import Split
from training.job_inputs import read_recipe
from training.recipe import SplitChoice

Features = Mapping[str, FeatureValue]


@dataclass(frozen=True, slots=True)
class Catalogue:
    """Items of one shard in the order of the table: picture (path, URI or None) and features, by item id.

    `origin` names the data set. `users` are empty for every shard but the first.
    """

    origin: Origin
    shard: int
    shards: int
    pictures: Mapping[str, str | None]
    features: Mapping[str, Features]
    users: Mapping[str, Features]

    @classmethod
    def of(cls, dataset: Dataset, split: Split, place: str, shard: int = 0, shards: int = 1) -> Catalogue:
        """A shard of a data set whose tables are at `place`; `split` says which rows count features."""
        pairs = zip(dataset.items["item_id"], dataset.items["image"], strict=True)
        pictures = {item: image for item, image in pairs if shard_of(item, shards) == shard}
        rows = features.item_rows(dataset, split)
        users = features.user_rows(dataset, split) if shard == 0 else {}
        own = {item: rows[item] for item in pictures}
        return cls(Origin(place, dataset.digest), shard, shards, pictures, own, users)

    def owns(self, item_id: str) -> bool:
        """Whether an item, of this catalogue or not, is this shard's."""
        return shard_of(item_id, self.shards) == self.shard


def read_catalogue(data: str, recipe: str | None, shard: int = 0, shards: int = 1) -> Catalogue:
    """Read the tables and count the features as training counts them: over the training rows of the split whose
    models are served, the recipe's first.

    Raises:
        DatasetError: with every fault of the tables. SplitError, RecipeError, InputError: likewise.
    """
    dataset = tables.read(data)
    choice = SplitChoice(name="within_user") if recipe is None else read_recipe(recipe).splits[0]
    split = splits.split(dataset, choice.name, seed=choice.seed, fold=choice.folds[0])
    return Catalogue.of(dataset, split, tables.place_of(data), shard, shards)


def shard_of(item_id: str, shards: int) -> int:
    """The shard of an item: the same on every machine and for any order or growth of the table."""
    digest = hashlib.blake2b(item_id.encode(errors="replace"), digest_size=8).digest()
    return int.from_bytes(digest, "little") % shards
