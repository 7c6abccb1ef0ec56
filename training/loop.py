"""The training loop: tensors in memory, shuffled gathers, fused Adam, early stopping; same seed, same bits."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from models.recommender.build import Ranker
from training.checkpoint import Saving
from training.distributed import ALONE, Group, InParts, RankError, RankLostError
from training.metrics import auc
from training.progress import Run
from training.rows import Rows
from training.steps import Backward, DeviceRows, Hidden, Shuffle, or_none, whole_batch

EVALUATION_ROWS = 32_768


class TrainingError(RuntimeError):
    """Training cannot go on; the message says why."""


class TrainingStoppedError(Exception):
    """Training was asked to stop, and did; what it needs to go on is saved if it has a checkpoint."""


@dataclass(frozen=True, slots=True)
class Epoch:
    """What is told about each finished epoch. `valid_auc` is None when validation has one class or no rows."""

    number: int
    epochs: int
    loss: float
    valid_auc: float | None
    seconds: float


@dataclass(frozen=True, slots=True)
class Fitted:
    """How a run went: epochs done, the best of them (from 1), its validation AUC, training rows a second."""

    epochs: int
    best_epoch: int
    valid_auc: float | None
    rows_per_second: float


def never() -> bool:
    """Nobody asks to stop."""
    return False


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
    micro_batches: int | None = None,
    saving: Saving | None = None,
    identity: Mapping[str, Any] | None = None,
    on_epoch: Callable[[Epoch], None] = lambda epoch: None,
    stop: Callable[[], bool] = never,
    group: Group = ALONE,
    clock: Callable[[], float] = time.monotonic,
) -> Fitted:
    """Train `model` in place; afterwards it has the weights of the epoch with the best validation AUC, on the CPU.

    Without validation rows of both classes all epochs run and the last weights stay.

    Args:
        micro_batches: parts that a batch's gradient is added from; as many as processes if None.
        saving: a file that is gone on from if it exists and `identity` is equal; a finished run's holds its result.
        stop: asked after each step; once true, the state is saved and the run ends.
        group: the processes that train together; rank 0 alone writes, and is told of epochs.

    Raises:
        TrainingError: no such device, or a loss that is not finite.
        CheckpointError: the checkpoint is of another run.
        TrainingStoppedError: `stop` said so, here or in another process.
        RankError, RankLostError: see the classes.
    """
    target = _device(device)
    parts = _parts(micro_batches, group)
    backward: Backward = whole_batch if parts == 1 else InParts(group, parts)
    with _deterministic(threads):
        model.to(target)
        optimizer = torch.optim.AdamW(model.parameters(), lr=learning_rate, weight_decay=weight_decay, fused=True)
        run = Run(model, optimizer, {**(identity or {}), "seed": seed, "parts": parts}, saving, group, clock)
        run.resume()
        steps = _Steps(run, DeviceRows.of(train, target), backward, batch_size, hidden, seed, stop)
        while not run.finished(epochs, patience):
            loss = steps.epoch(epochs)
            score = _from_first(group, lambda: auc(valid.labels, predict(model, valid)) if len(valid) else None)
            seconds = run.finish_epoch(score, epochs, patience)
            if group.rank == 0:
                on_epoch(Epoch(run.done, epochs, loss, score, seconds))
        run.keep_best()
        model.to("cpu").eval()
    return Fitted(run.done, run.best_epoch, run.best_auc, run.rows_per_second)


def predict(model: Ranker, rows: Rows) -> npt.NDArray[np.float32]:
    """Probabilities of all rows: float32 [rows]. Each caption is pooled once."""
    device = next(model.parameters()).device
    was_training = model.training
    model.eval()
    with torch.inference_mode():
        batches = DeviceRows.of(rows, device)
        captions = None if model.caption is None else model.caption(batches.captions)
        parts = []
        for start in range(0, len(rows), EVALUATION_ROWS):
            part = slice(start, start + EVALUATION_ROWS)
            vectors = None if captions is None else captions[batches.item[part]]
            dense, categorical = or_none(batches.dense[part]), or_none(batches.categorical[part])
            parts.append(torch.sigmoid(model.logits_of(dense, categorical, vectors)).cpu())
    model.train(was_training)
    return np.asarray(torch.cat(parts).numpy()) if parts else np.empty(0, np.float32)


@dataclass(frozen=True, slots=True)
class _Steps:
    """Takes the steps of a run's epochs."""

    run: Run
    rows: DeviceRows
    backward: Backward
    batch_size: int
    hidden: Sequence[Hidden]
    seed: int
    stop: Callable[[], bool]

    def epoch(self, epochs: int) -> float:
        """One pass, or the rest of the one that the run is in. Returns the mean loss."""
        run, model = self.run, self.run.model
        model.train()
        shuffle = Shuffle(self.rows, self.batch_size, self.hidden, self.seed, run.done)
        with shuffle.randomness(run.generator):
            for batch in shuffle.batches(run.step):
                run.optimizer.zero_grad(set_to_none=True)
                try:
                    loss, stop = self.backward(model, self.rows, batch, self.stop())
                except RankLostError:
                    run.save()
                    raise
                run.optimizer.step()
                run.took_step(loss, len(batch))
                if stop:
                    run.save()
                    raise TrainingStoppedError(f"stopped in epoch {run.done + 1} of {epochs}, after step {run.step}")
        mean = float(run.loss) / len(self.rows.labels)
        if not np.isfinite(mean):
            raise TrainingError(f"the loss of epoch {run.done + 1} is {mean}; lower learning_rate")
        return mean


def _parts(micro_batches: int | None, group: Group) -> int:
    parts = micro_batches or group.world
    if parts % group.world:
        raise RankError(
            f"training.micro_batches is {parts} and {group.world} processes share them; "
            f"expected a multiple of {group.world}"
        )
    return parts


def _from_first(group: Group, score: Callable[[], float | None]) -> float | None:
    """What rank 0 finds; so that all stop at the same epoch, whatever their processors round."""
    mine = json.dumps(score()).encode() if group.rank == 0 else None
    found: float | None = json.loads(group.share(mine) or b"null")
    return found


def _device(name: str) -> torch.device:
    if name == "cuda" and not torch.cuda.is_available():
        raise TrainingError("device cuda: no GPU that this torch can use; set training.device to cpu")
    return torch.device(name)


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
