"""A split's rows as tensors, encoded once: what every epoch of every seed gathers its batches from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from models.contract import Contract, FeatureEncoder
from training.data.dataset import Dataset
from training.data.features import columns
from training.data.splits import Split

Ints = npt.NDArray[np.int64]
Tokens = Mapping[str, npt.NDArray[np.integer[Any]]]


@dataclass(frozen=True, slots=True)
class Rows:
    """Encoded rows. A caption belongs to an item, so it is kept once per item and not once per row.

    Attributes:
        dense: float32 [rows, D]; categorical: int64 [rows, C]; labels: float32 [rows].
        item: int64 [rows], the row's place in `captions`.
        captions: int64 [items, T] or [items, T, k]; None for a contract without caption.
        users, items: the rows' ids as object arrays, for groups, clusters and slices.
    """

    dense: npt.NDArray[np.float32]
    categorical: Ints
    labels: npt.NDArray[np.float32]
    item: Ints
    captions: Ints | None
    users: npt.NDArray[Any]
    items: npt.NDArray[Any]

    def __len__(self) -> int:
        return len(self.labels)

    def tensors(self, contract: Contract) -> dict[str, npt.NDArray[Any]]:
        """What the ranker is fed for these rows, by the names of `contract.tensors`: the bytes that `encode` gives."""
        whole: dict[str, npt.NDArray[Any]] = {"dense": self.dense, "categorical": self.categorical}
        if self.captions is not None:
            whole["caption"] = self.captions[self.item]
        return {tensor.name: whole[tensor.name] for tensor in contract.tensors}


@dataclass(frozen=True, slots=True)
class Parts:
    """The three parts of a split, encoded by one contract. `remark` says what is unusual about them, if anything."""

    train: Rows
    valid: Rows
    test: Rows
    remark: str = ""


def encode_split(dataset: Dataset, split: Split, contract: Contract, captions: Tokens | None) -> Parts:
    """Encode a split; `captions` are token ids by item id (an item that is not in it has no caption)."""
    names = dataset.items["item_id"].to_numpy(dtype=object)
    encoder = FeatureEncoder(contract)
    buckets = None
    if contract.caption is not None:
        buckets = encoder.caption([(captions or {}).get(name) for name in names])
    train, valid, test = (
        _rows(dataset, split, rows, encoder, names, buckets) for rows in (split.train, split.valid, split.test)
    )
    return Parts(train, valid, test)


def _rows(
    dataset: Dataset, split: Split, rows: Ints, encoder: FeatureEncoder, names: npt.NDArray[Any], buckets: Ints | None
) -> Rows:
    contract = encoder.contract
    bare = FeatureEncoder(contract if contract.caption is None else contract.without_caption())
    tensors = bare.encode(columns(dataset, split, rows, contract), None)
    frame = dataset.interactions.iloc[rows]
    items = frame["item_id"].to_numpy(dtype=object)
    place = {name: number for number, name in enumerate(names)}
    return Rows(
        dense=tensors.get("dense", np.empty((len(rows), 0), np.float32)),
        categorical=tensors.get("categorical", np.empty((len(rows), 0), np.int64)),
        labels=frame["label"].to_numpy(dtype=np.float32),
        item=np.fromiter((place[item] for item in items), dtype=np.int64, count=len(items)),
        captions=buckets,
        users=frame["user_id"].to_numpy(dtype=object),
        items=items,
    )
