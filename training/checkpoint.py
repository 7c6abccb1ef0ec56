"""A training run's state in one safetensors file: weights, best weights, optimizer, and where the loop stood.

The file is replaced as a whole at the end of an epoch. Everything random is drawn from (seed, epoch), so that a run
that goes on from a checkpoint takes the same steps, bit for bit, as one that was never interrupted. No pickle is
involved.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from models.files import write_atomic

_STATE = "sightline.training"


class CheckpointError(ValueError):
    """A checkpoint that cannot be gone on from; says what differs and what to do."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """State at the end of an epoch.

    Attributes:
        identity: what the run is: contract digest, data digest, seed, settings. A run goes on from its own kind only.
        progress: plain numbers: epochs done, validation history.
        model, best: weights by name; optimizer: Adam's tensors by `<parameter name>.<key>`.
    """

    identity: Mapping[str, Any]
    progress: Mapping[str, Any]
    model: Mapping[str, Tensor]
    best: Mapping[str, Tensor]
    optimizer: Mapping[str, Tensor]

    def write(self, path: Path) -> None:
        """Write, whole or not at all."""
        groups = {"model": self.model, "best": self.best, "optimizer": self.optimizer}
        tensors = {
            f"{group}/{name}": value.contiguous() for group, part in groups.items() for name, value in part.items()
        }
        state = json.dumps({"identity": self.identity, "progress": self.progress}, sort_keys=True)
        write_atomic(path, save(tensors, {_STATE: state}))

    @classmethod
    def read(cls, path: Path, identity: Mapping[str, Any]) -> Checkpoint:
        """Read the checkpoint of the run `identity`.

        Raises:
            CheckpointError: damaged, or of another run; names each part of the identity that differs.
        """
        try:
            with safe_open(path, framework="pt") as file:
                state = json.loads((file.metadata() or {})[_STATE])
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
        except (SafetensorError, OSError, KeyError, ValueError) as error:
            raise CheckpointError(
                f"{path} is not a checkpoint of this project ({error}); remove it to start anew"
            ) from error
        _refuse_other(path, state["identity"], json.loads(json.dumps(identity)))
        parts: dict[str, dict[str, Tensor]] = {"model": {}, "best": {}, "optimizer": {}}
        for name, value in tensors.items():
            group, _, rest = name.partition("/")
            parts[group][rest] = value
        return cls(state["identity"], state["progress"], **parts)


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


def _refuse_other(path: Path, found: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    different = sorted(key for key in {*found, *wanted} if found.get(key) != wanted.get(key))
    if different:
        lines = "".join(f"\n  - {key}: {found.get(key)!r} in the file, {wanted.get(key)!r} now" for key in different)
        raise CheckpointError(f"{path} is of another run; remove it to start anew, or restore what differs:{lines}")
