"""The steps of one epoch: which rows, what is hidden in them, and their gradients."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from models.recommender.build import Ranker
from training.rows import Rows


@dataclass(frozen=True, slots=True)
class Hidden:
    """Column values for rows in which something is shown as missing.

    Attributes:
        share: share of training rows, drawn anew in every epoch.
        categorical: columns that become bucket 0.
        dense: columns and the encoded value of their default.
        caption: whether the caption becomes "no caption".
    """

    share: float
    categorical: tuple[int, ...] = ()
    dense: tuple[tuple[int, float], ...] = ()
    caption: bool = False


@dataclass(frozen=True, slots=True)
class DeviceRows:
    """Rows on the device."""

    dense: Tensor
    categorical: Tensor
    labels: Tensor
    item: Tensor
    captions: Tensor | None

    @classmethod
    def of(cls, rows: Rows, device: torch.device) -> DeviceRows:
        captions = None if rows.captions is None else torch.from_numpy(rows.captions).to(device)
        dense, categorical, labels, item = (
            torch.from_numpy(array).to(device) for array in (rows.dense, rows.categorical, rows.labels, rows.item)
        )
        return cls(dense, categorical, labels, item, captions)


@dataclass(frozen=True, slots=True)
class Batch:
    """Row numbers int64 [rows], and for each kind of hiding which of them it hides, bool [rows]."""

    picked: Tensor
    hidden: tuple[tuple[Hidden, Tensor], ...]

    def __len__(self) -> int:
        return len(self.picked)

    def part(self, rows: slice) -> Batch:
        """Some of the rows."""
        return Batch(self.picked[rows], tuple((each, mask[rows]) for each, mask in self.hidden))


class Backward(Protocol):
    """How a batch's gradients come about: `whole_batch`, or in parts that several processes share."""

    def __call__(self, model: Ranker, rows: DeviceRows, batch: Batch, stop: bool) -> tuple[Tensor, bool]:
        """Leave the gradients in the model's parameters.

        Returns:
            The batch's mean loss, and whether this or any other process wants to stop.
        """
        ...


def whole_batch(model: Ranker, rows: DeviceRows, batch: Batch, stop: bool) -> tuple[Tensor, bool]:
    """The gradients of the mean loss of a batch."""
    loss = binary_cross_entropy_with_logits(logits(model, rows, batch), rows.labels[batch.picked])
    torch.autograd.backward(loss)
    return loss.detach(), stop


def logits(model: Ranker, rows: DeviceRows, batch: Batch) -> Tensor:
    """Log odds [rows] of a batch, with what is hidden in it hidden."""
    dense, categorical = rows.dense[batch.picked], rows.categorical[batch.picked]
    captions = None
    if model.caption is not None and rows.captions is not None:
        items, place = torch.unique(rows.item[batch.picked], return_inverse=True)
        captions = model.caption(rows.captions[items]).index_select(0, place)  # pooled once per item of the batch
    for each, mask in batch.hidden:
        for column in each.categorical:
            categorical[:, column].masked_fill_(mask, 0)
        for column, value in each.dense:
            dense[:, column].masked_fill_(mask, value)
        if each.caption and model.caption is not None and captions is not None:
            captions = torch.where(mask[:, None], model.caption.no_caption(), captions)
    return model.logits_of(or_none(dense), or_none(categorical), captions)


def or_none(block: Tensor) -> Tensor | None:
    """None for a block without columns."""
    return block if block.shape[1] else None


class Shuffle:
    """The order of one epoch's rows and what is hidden in them; every random choice comes from (seed, epoch)."""

    def __init__(self, rows: DeviceRows, batch_size: int, hidden: Sequence[Hidden], seed: int, epoch: int) -> None:
        draw = np.random.default_rng([seed, epoch])
        count, self._device = len(rows.labels), rows.labels.device
        self._size, self._hidden = batch_size, hidden
        self._order = torch.from_numpy(draw.permutation(count)).to(self._device)
        self._masks = [torch.from_numpy(draw.random(count) < each.share).to(self._device) for each in hidden]
        self._seed = int(draw.integers(2**62))

    def batches(self, first: int) -> Iterator[Batch]:
        """From the batch of this number on."""
        for picked in torch.split(self._order, self._size)[first:]:
            masks = (mask[picked] for mask in self._masks)
            yield Batch(picked, tuple(zip(self._hidden, masks, strict=True)))

    @contextmanager
    def randomness(self, state: Tensor | None) -> Iterator[None]:
        """The epoch's own random numbers for the time of a block, from its start or from `generator_state`'s."""
        with torch.random.fork_rng(devices=[self._device] if self._device.type == "cuda" else []):
            torch.manual_seed(self._seed)
            if state is not None:
                set_generator_state(self._device, state)
            yield


def generator_state(device: torch.device) -> Tensor:
    """The state of the generator that dropout draws from: uint8, on the CPU."""
    return torch.cuda.get_rng_state(device) if device.type == "cuda" else torch.get_rng_state()


def set_generator_state(device: torch.device, state: Tensor) -> None:
    """Put `generator_state` back."""
    if device.type == "cuda":
        torch.cuda.set_rng_state(state, device)
    else:
        torch.set_rng_state(state)
