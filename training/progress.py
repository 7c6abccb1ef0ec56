"""Where a training run stands, saved and taken up again."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from models.recommender.build import Ranker
from training.checkpoint import Checkpoint, Pace, Saving, optimizer_tensors, restore_optimizer
from training.checkpoint_file import newest_whole
from training.distributed import Group, agree
from training.steps import generator_state


class Run:
    """The model in training, the epochs and steps done, and the best weights so far.

    Attributes:
        done: finished epochs; step: steps done in the next one; loss: its sum over rows so far.
        generator: the random generator's state after a resumed run's last step; None at an epoch's start.
        best_epoch: from 1, 0 before the first; best_auc: its validation AUC.
    """

    def __init__(
        self,
        model: Ranker,
        optimizer: torch.optim.Optimizer,
        identity: Mapping[str, Any],
        saving: Saving | None,
        group: Group,
        clock: Callable[[], float],
    ) -> None:
        self.model, self.optimizer = model, optimizer
        self._identity, self._saving, self._group, self._clock = identity, saving, group, clock
        self._device = next(model.parameters()).device
        self._pace = Pace(saving, clock)
        self._rows, self._seconds, self._began = 0, 0.0, clock()
        self.done, self.step = 0, 0
        self.loss = torch.zeros((), device=self._device)
        self.generator: Tensor | None = None
        self.best_epoch = 0
        self.best_auc: float | None = None
        self._best = _weights(model)

    def finished(self, epochs: int, patience: int) -> bool:
        """Whether all epochs are done, or `patience` of them went by without a better one."""
        return self.done >= epochs or self.done - self.best_epoch >= patience

    def took_step(self, loss: Tensor, rows: int) -> None:
        """Count a step of `rows` rows with this mean loss; save if it is time."""
        self.loss += loss * rows
        self.step += 1
        self._rows += rows
        if self._pace.after_step():
            self.save()

    def finish_epoch(self, score: float | None, epochs: int, patience: int) -> float:
        """Count an epoch with this validation AUC, and save; returns the seconds since the last one's end."""
        self.done, self.step, self.generator = self.done + 1, 0, None
        self.loss = torch.zeros((), device=self._device)
        if score is None or self.best_auc is None or score > self.best_auc:
            self.best_epoch, self.best_auc, self._best = self.done, score, _weights(self.model)
        if self._group.world > 1:
            agree(self._group, _content(_weights(self.model)), f"weights after epoch {self.done}")
        self.save(finished=self.finished(epochs, patience))
        seconds, self._began = self._clock() - self._began, self._clock()
        self._seconds += seconds
        return seconds

    def save(self, *, finished: bool = False) -> None:
        """Write the checkpoint, if this process has one to write. To be called within the epoch's randomness."""
        self._pace.saved()
        if self._saving is None or self._group.rank:
            return
        numbers = ("done", "step", "best_epoch", "best_auc")
        progress = {"finished": finished, **{name: getattr(self, name) for name in numbers}}
        if finished:
            Checkpoint(self._identity, progress, self._best).write(self._saving.path)
            return
        optimizer = optimizer_tensors(self.model, self.optimizer)
        epoch = {"loss": self.loss, "generator": generator_state(self._device)} if self.step else {}
        Checkpoint(self._identity, progress, self._best, _weights(self.model), optimizer, epoch).write(
            self._saving.path
        )

    def resume(self) -> None:
        """Go on from the first process's newest whole checkpoint, where there is one: all go on from the same bytes.

        Raises:
            CheckpointError: it is of another run.
        """
        found = None
        if self._group.rank == 0 and self._saving is not None:
            found = newest_whole(self._saving.path)
        data = self._group.share(found and found[0])
        if data is None:
            return
        saved = Checkpoint.parse(data, found[1] if found else "the first process's checkpoint", self._identity)
        self._best = dict(saved.best)
        if not saved.progress["finished"]:
            self.model.load_state_dict(dict(saved.model))
            restore_optimizer(self.model, self.optimizer, saved.optimizer)
        if saved.epoch:
            self.loss, self.generator = saved.epoch["loss"].to(self._device), saved.epoch["generator"]
        self.done, self.step = saved.progress["done"], saved.progress["step"]
        self.best_epoch, self.best_auc = saved.progress["best_epoch"], saved.progress["best_auc"]

    def keep_best(self) -> None:
        """Give the model the best epoch's weights."""
        self.model.load_state_dict(self._best)

    @property
    def rows_per_second(self) -> float:
        """Of this process's own steps, evaluations and saves; 0 when it took none."""
        return self._rows / self._seconds if self._seconds > 0 else 0.0


def _weights(model: Ranker) -> dict[str, Tensor]:
    return {name: value.detach().cpu().clone() for name, value in model.state_dict().items()}


def _content(weights: Mapping[str, Tensor]) -> bytes:
    return b"".join(name.encode() + value.numpy().tobytes() for name, value in sorted(weights.items()))
