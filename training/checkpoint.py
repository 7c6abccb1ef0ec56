"""A training run's state in one safetensors file: weights, best weights, optimizer, and where the loop stood.

The file is replaced as a whole, after any step, and carries a checksum of all that is in it (`checkpoint_file`).
Everything random is drawn from (seed, epoch), and what an epoch has used of it is saved, so that a run that goes on
from a checkpoint takes the same steps, bit for bit, as one that was never interrupted. No pickle is involved.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load
from torch import Tensor

from training.checkpoint_file import CheckpointError, keep, newest_whole, sealed, unsealed


@dataclass(frozen=True, slots=True)
class Saving:
    """Where a run's state is kept, and how often within an epoch; it is also saved at the end of each."""

    path: Path
    seconds: float = 60.0
    steps: int | None = None

    def due(self, seconds: float, steps: int) -> bool:
        """Whether to save, so long and so many steps after the last time."""
        return seconds >= self.seconds or (self.steps is not None and steps >= self.steps)


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """State after a step.

    Attributes:
        identity: what the run is: contract digest, data digest, seed, settings. A run goes on from its own kind only.
        progress: plain numbers: epochs and steps done, validation history.
        best: weights by name. A finished run has nothing else.
        model: weights by name; optimizer: Adam's tensors by `<parameter name>.<key>`.
        epoch: of an unfinished epoch its `loss` so far and the random `generator`'s state; else empty.
    """

    identity: Mapping[str, Any]
    progress: Mapping[str, Any]
    best: Mapping[str, Tensor]
    model: Mapping[str, Tensor] = field(default_factory=dict)
    optimizer: Mapping[str, Tensor] = field(default_factory=dict)
    epoch: Mapping[str, Tensor] = field(default_factory=dict)

    def write(self, path: Path) -> None:
        """Write, whole or not at all; the state that was there stays beside it as the previous one.

        Raises:
            NoRoomError: the folder takes no more; what was there is as it was.
        """
        groups = {"best": self.best, "model": self.model, "optimizer": self.optimizer, "epoch": self.epoch}
        tensors = {
            f"{group}/{name}": value.contiguous() for group, part in groups.items() for name, value in part.items()
        }
        keep(path, sealed(tensors, {"identity": self.identity, "progress": self.progress}))

    @classmethod
    def parse(cls, data: bytes, where: str, identity: Mapping[str, Any]) -> Checkpoint:
        """The checkpoint of the run `identity` from its file's content.

        Raises:
            DamagedCheckpointError: a bit is not as it was written.
            CheckpointError: it is of another run; names each part of the identity that differs.
        """
        state, tensors = unsealed(data, where), load(data)
        _refuse_other(where, state["identity"], json.loads(json.dumps(identity)))
        parts: dict[str, dict[str, Tensor]] = {"best": {}, "model": {}, "optimizer": {}, "epoch": {}}
        for name, value in tensors.items():
            group, _, rest = name.partition("/")
            parts[group][rest] = value
        return cls(state["identity"], state["progress"], **parts)


def is_finished(path: Path | None) -> bool:
    """Whether the newest whole state that a run keeps in `path` is its last one."""
    found = None if path is None else newest_whole(path)
    return found is not None and bool(unsealed(*found)["progress"]["finished"])


def optimizer_tensors(model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The optimizer's state by parameter name, copied."""
    return {
        f"{name}.{key}": value.detach().clone()
        for name, parameter in model.named_parameters()
        for key, value in optimizer.state[parameter].items()
    }


def restore_optimizer(model: torch.nn.Module, optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Put saved state back; the optimizer is new and has the model's parameters."""
    for name, parameter in model.named_parameters():
        keys = {key[len(name) + 1 :]: value for key, value in tensors.items() if key.rpartition(".")[0] == name}
        for key, value in keys.items():
            device = torch.device("cpu") if value.dim() == 0 and parameter.device.type == "cpu" else parameter.device
            optimizer.state[parameter][key] = value.clone().to(device)


class Pace:
    """Says when the next save is due."""

    def __init__(self, saving: Saving | None, clock: Callable[[], float]) -> None:
        self._saving, self._clock = saving, clock
        self._since, self._steps = clock(), 0

    def after_step(self) -> bool:
        """Whether to save now; to be called once after each step."""
        self._steps += 1
        return self._saving is not None and self._saving.due(self._clock() - self._since, self._steps)

    def saved(self) -> None:
        """Count from here."""
        self._since, self._steps = self._clock(), 0


def _refuse_other(where: str, found: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    different = sorted(key for key in {*found, *wanted} if found.get(key) != wanted.get(key))
    if different:
        lines = "".join(f"\n  - {key}: {found.get(key)!r} in the file, {wanted.get(key)!r} now" for key in different)
        raise CheckpointError(f"{where} is of another run; remove it to start anew, or restore what differs:{lines}")
