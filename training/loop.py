"""The training loop: tensors in memory, shuffled gathers, fused Adam, early stopping; same seed, same bits."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from models.recommender.build import Ranker
from training.checkpoint import Checkpoint, optimizer_tensors, restore_optimizer
from training.metrics import auc
from training.rows import Rows

EVALUATION_ROWS = 32_768


class TrainingError(RuntimeError):
    """Training cannot go on; the message says why."""


@dataclass(frozen=True, slots=True)
class Epoch:
    """What is told about each finished epoch. `valid_auc` is None when validation has one class or no rows."""

    number: int
    epochs: int
    loss: float
    valid_auc: float | None
    seconds: float


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
class Fitted:
    """How a run went: epochs done, the best of them (from 1), its validation AUC, training rows a second."""

    epochs: int
    best_epoch: int
    valid_auc: float | None
    rows_per_second: float


@dataclass(frozen=True, slots=True)
class _Batches:
    """Rows on the device."""

    dense: Tensor
    categorical: Tensor
    labels: Tensor
    item: Tensor
    captions: Tensor | None

    @classmethod
    def of(cls, rows: Rows, device: torch.device) -> _Batches:
        captions = None if rows.captions is None else torch.from_numpy(rows.captions).to(device)
        dense, categorical, labels, item = (
            torch.from_numpy(array).to(device) for array in (rows.dense, rows.categorical, rows.labels, rows.item)
        )
        return cls(dense, categorical, labels, item, captions)


def fit(
    model: Ranker,
    train: Rows,
    valid: Rows,
    *,
    seed: int,
    epochs: int,
    batch_size: int,
    patience: int,
    learning_rate: float,
    weight_decay: float,
    hidden: Sequence[Hidden] = (),
    device: str = "cpu",
    threads: int = 1,
    checkpoint: Path | None = None,
    identity: Mapping[str, Any] | None = None,
    on_epoch: Callable[[Epoch], None] = lambda epoch: None,
    clock: Callable[[], float] = time.monotonic,
) -> Fitted:
    """Train `model` in place; afterwards it has the weights of the epoch with the best validation AUC, on the CPU.

    Without validation rows of both classes all epochs run and the last weights stay. `checkpoint` names a file that is
    written after every epoch and gone on from when it exists; `identity` is what must be equal for that.

    Raises:
        TrainingError: no such device, or a loss that is not finite.
        CheckpointError: the checkpoint is of another run.
    """
    target = _device(device)
    with _deterministic(threads):
        model.to(target)
        optimizer = torch.optim.AdamW(model.parameters(), lr=learning_rate, weight_decay=weight_decay, fused=True)
        run = _Run(model, optimizer, dict(identity or {}, seed=seed))
        if checkpoint is not None and checkpoint.exists():
            run.resume(checkpoint)
        batches = _Batches.of(train, target)
        start, first = clock(), run.done
        while run.done < epochs and run.done - run.best_epoch < patience:
            began = clock()
            loss = _epoch(model, optimizer, batches, batch_size, hidden, seed, run.done)
            score = auc(valid.labels, predict(model, valid)) if len(valid) else None
            run.finish_epoch(score)
            if checkpoint is not None:
                run.checkpoint(checkpoint)
            on_epoch(Epoch(run.done, epochs, loss, score, clock() - began))
        elapsed = clock() - start
        model.load_state_dict(run.best)
        model.to("cpu").eval()
    rate = (run.done - first) * len(train) / elapsed if elapsed > 0 else 0.0
    return Fitted(run.done, run.best_epoch, run.best_auc, rate)


def predict(model: Ranker, rows: Rows) -> npt.NDArray[np.float32]:
    """Probabilities of all rows: float32 [rows]. Each caption is pooled once."""
    device = next(model.parameters()).device
    was_training = model.training
    model.eval()
    with torch.inference_mode():
        batches = _Batches.of(rows, device)
        captions = None if model.caption is None else model.caption(batches.captions)
        parts = []
        for start in range(0, len(rows), EVALUATION_ROWS):
            part = slice(start, start + EVALUATION_ROWS)
            vectors = None if captions is None else captions[batches.item[part]]
            dense, categorical = _or_none(batches.dense[part]), _or_none(batches.categorical[part])
            parts.append(torch.sigmoid(model.logits_of(dense, categorical, vectors)).cpu())
    model.train(was_training)
    return np.asarray(torch.cat(parts).numpy()) if parts else np.empty(0, np.float32)


class _Run:
    """Where a run stands: epochs done, the best one and its weights."""

    def __init__(self, model: Ranker, optimizer: torch.optim.Optimizer, identity: Mapping[str, Any]) -> None:
        self._model, self._optimizer, self._identity = model, optimizer, identity
        self.done = 0
        self.best_epoch = 0
        self.best_auc: float | None = None
        self.best = _weights(model)

    def finish_epoch(self, score: float | None) -> None:
        self.done += 1
        if score is None or self.best_auc is None or score > self.best_auc:
            self.best_epoch, self.best_auc, self.best = self.done, score, _weights(self._model)

    def checkpoint(self, path: Path) -> None:
        progress = {"done": self.done, "best_epoch": self.best_epoch, "best_auc": self.best_auc}
        optimizer = optimizer_tensors(self._model, self._optimizer)
        Checkpoint(self._identity, progress, _weights(self._model), self.best, optimizer).write(path)

    def resume(self, path: Path) -> None:
        saved = Checkpoint.read(path, self._identity)
        self._model.load_state_dict(dict(saved.model))
        restore_optimizer(self._model, self._optimizer, saved.optimizer)
        self.done, self.best_epoch = saved.progress["done"], saved.progress["best_epoch"]
        self.best_auc, self.best = saved.progress["best_auc"], dict(saved.best)


def _weights(model: Ranker) -> dict[str, Tensor]:
    return {name: value.detach().cpu().clone() for name, value in model.state_dict().items()}


def _epoch(
    model: Ranker,
    optimizer: torch.optim.Optimizer,
    rows: _Batches,
    batch_size: int,
    hidden: Sequence[Hidden],
    seed: int,
    epoch: int,
) -> float:
    """One pass; every random choice comes from (seed, epoch). Returns the mean loss."""
    model.train()
    draw = np.random.default_rng([seed, epoch])
    count = len(rows.labels)
    order = torch.from_numpy(draw.permutation(count)).to(rows.labels.device)
    masks = [torch.from_numpy(draw.random(count) < each.share).to(rows.labels.device) for each in hidden]
    total = torch.zeros((), device=rows.labels.device)
    with torch.random.fork_rng(devices=_cuda_devices(rows.labels.device)):
        torch.manual_seed(int(draw.integers(2**62)))
        for picked in torch.split(order, batch_size):
            optimizer.zero_grad(set_to_none=True)
            logits = _logits(
                model, rows, picked, [(each, mask[picked]) for each, mask in zip(hidden, masks, strict=True)]
            )
            loss = binary_cross_entropy_with_logits(logits, rows.labels[picked])
            torch.autograd.backward(loss)
            optimizer.step()
            total += loss.detach() * len(picked)
    mean = float(total) / count
    if not np.isfinite(mean):
        raise TrainingError(f"the loss of epoch {epoch + 1} is {mean}; lower learning_rate")
    return mean


def _logits(model: Ranker, rows: _Batches, picked: Tensor, hidden: Sequence[tuple[Hidden, Tensor]]) -> Tensor:
    dense, categorical = rows.dense[picked], rows.categorical[picked]
    captions = None
    if model.caption is not None and rows.captions is not None:
        items, place = torch.unique(rows.item[picked], return_inverse=True)
        captions = model.caption(rows.captions[items]).index_select(0, place)  # pooled once per item of the batch
    for each, mask in hidden:
        for column in each.categorical:
            categorical[:, column].masked_fill_(mask, 0)
        for column, value in each.dense:
            dense[:, column].masked_fill_(mask, value)
        if each.caption and model.caption is not None and captions is not None:
            captions = torch.where(mask[:, None], model.caption.no_caption(), captions)
    return model.logits_of(_or_none(dense), _or_none(categorical), captions)


def _or_none(block: Tensor) -> Tensor | None:
    return block if block.shape[1] else None


def _device(name: str) -> torch.device:
    if name == "cuda" and not torch.cuda.is_available():
        raise TrainingError("device cuda: no GPU that this torch can use; set training.device to cpu")
    return torch.device(name)


def _cuda_devices(device: torch.device) -> list[torch.device]:
    return [device] if device.type == "cuda" else []


@contextmanager
def _deterministic(threads: int) -> Iterator[None]:
    """Torch's deterministic algorithms and a fixed number of threads, for the time of a block.

    On a GPU torch asks for the environment variable CUBLAS_WORKSPACE_CONFIG=:4096:8 and says so.
    """
    before, before_threads = torch.are_deterministic_algorithms_enabled(), torch.get_num_threads()
    torch.use_deterministic_algorithms(True)
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)
        torch.set_num_threads(before_threads)
