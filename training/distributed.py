"""One batch, several processes: each takes a part of its rows, and all take the same step.

A batch's gradient is the sum of `parts` gradients, added in order: by one process that computes them one after the
other, or by several that compute some each and exchange them. So the number of processes changes no bit, as long as the
recipe's `training.micro_batches` says the number of parts. Dropout is drawn for the whole batch and cut, so that
it is the same for any number of parts.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import NoReturn, Protocol

import torch
from torch import Tensor, distributed, nn
from torch.nn.functional import binary_cross_entropy_with_logits, dropout

from models.recommender.build import Ranker
from training.steps import Batch, DeviceRows, generator_state, logits, set_generator_state

_NEEDED = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


class RankError(RuntimeError):
    """The processes cannot train together; the message says why."""


class RankLostError(RuntimeError):
    """Another process ended, hangs, or cannot be reached."""


class JoinError(RankLostError):
    """The others did not come."""


class Group(Protocol):
    """The processes that train together; `rank` 0 leads: it alone writes and decides."""

    rank: int
    world: int

    def gather(self, mine: Tensor) -> Tensor:
        """Everybody's rows [n, …] put together in the order of ranks: [world * n, …].

        Raises:
            RankLostError: see the class.
        """
        ...

    def share(self, data: bytes | None) -> bytes | None:
        """What rank 0 gives; the others' argument is not looked at. Raises RankLostError."""
        ...


class Alone:
    """One process."""

    rank, world = 0, 1

    def gather(self, mine: Tensor) -> Tensor:
        return mine

    def share(self, data: bytes | None) -> bytes | None:
        return data


ALONE = Alone()


class Leader:
    """The first of `world` processes when the others have done their part: every run must be trained by now."""

    rank = 0

    def __init__(self, world: int) -> None:
        self.world = world

    def gather(self, mine: Tensor) -> Tensor:
        raise RankLostError(f"there is more to train, and of {self.world} processes only the first is here")

    def share(self, data: bytes | None) -> bytes | None:
        return data


class TorchGroup:
    """The processes that torchrun started (or anything else that sets its environment variables)."""

    def __init__(self) -> None:
        self.rank, self.world = distributed.get_rank(), distributed.get_world_size()

    def gather(self, mine: Tensor) -> Tensor:
        everybodys = [torch.empty_like(mine) for _ in range(self.world)]
        try:
            distributed.all_gather(everybodys, mine.contiguous())
        except RuntimeError as error:
            self._lost(error)
        return torch.cat(everybodys)

    def share(self, data: bytes | None) -> bytes | None:
        size = torch.tensor([-1 if data is None else len(data)])
        try:
            distributed.broadcast(size, src=0)
            if int(size) < 0:
                return None
            content = torch.empty(int(size), dtype=torch.uint8)
            if self.rank == 0 and data:
                content.copy_(torch.frombuffer(bytearray(data), dtype=torch.uint8))
            distributed.broadcast(content, src=0)
        except RuntimeError as error:
            self._lost(error)
        return content.numpy().tobytes()

    def _lost(self, error: RuntimeError) -> NoReturn:
        raise RankLostError(
            f"process {self.rank} of {self.world} lost another one ({str(error).splitlines()[0]}); "
            "its log says why. Start all of them again: they go on from the last checkpoint"
        ) from error


@contextmanager
def torch_group(device: str, timeout: float, environment: Mapping[str, str] = os.environ) -> Iterator[TorchGroup]:
    """Join the processes of torchrun for the time of a block.

    Args:
        timeout: seconds after which a process that others wait for counts as lost.

    Raises:
        RankError: not started by torchrun.
        JoinError: the others did not come in time.
    """
    if missing := [name for name in _NEEDED if not environment.get(name)]:
        raise RankError(
            f"--distributed: {', '.join(missing)} not set in the environment; start the processes with torchrun"
        )
    if device == "cuda":
        torch.cuda.set_device(int(environment.get("LOCAL_RANK", "0")))
    backend = "cpu:gloo,cuda:nccl" if device == "cuda" else "gloo"
    try:
        distributed.init_process_group(backend, timeout=timedelta(seconds=timeout))
    except (RuntimeError, ValueError) as error:  # DistStoreError and its like are RuntimeErrors
        raise JoinError(
            f"process {environment['RANK']} of {environment['WORLD_SIZE']} waited {timeout:g} s for the others at "
            f"{environment['MASTER_ADDR']}:{environment['MASTER_PORT']} ({str(error).splitlines()[0]})"
        ) from error
    try:
        yield TorchGroup()
    finally:
        distributed.destroy_process_group()


def agree(group: Group, content: bytes, what: str) -> None:
    """Refuse to go on when a process has another `content`.

    Raises:
        RankError: names the processes that differ from the first.
    """
    if group.world == 1:
        return
    mine = torch.frombuffer(bytearray(hashlib.sha256(content).digest()), dtype=torch.uint8)
    everybodys = group.gather(mine[None])
    if other := [rank for rank, each in enumerate(everybodys) if not torch.equal(each, everybodys[0])]:
        raise RankError(
            f"the processes differ in their {what}: {other} are not as 0; give all of them the same "
            "arguments and data, and train on machines of one kind"
        )


@dataclass(frozen=True, slots=True)
class InParts:
    """`training.steps.Backward` for a batch in `parts`, of which each process of `group` computes as many."""

    group: Group
    parts: int

    def __call__(self, model: Ranker, rows: DeviceRows, batch: Batch, stop: bool) -> tuple[Tensor, bool]:
        device = rows.labels.device
        state = generator_state(device)
        parameters = [each for each in model.parameters() if each.requires_grad]
        mine = self.parts // self.group.world
        flat = []
        with _cut_dropout(model) as cut:
            for number in range(self.group.rank * mine, (self.group.rank + 1) * mine):
                set_generator_state(device, state)  # every part draws the whole batch's numbers
                cut.to(len(batch), number, self.parts)
                flat.append(
                    torch.cat([_gradient(model, parameters, rows, batch, cut.rows), rows.labels.new_tensor([stop])])
                )
        try:
            total = _sum_in_order(self.group.gather(torch.stack(flat)))
        except RankLostError:
            set_generator_state(device, state)  # the step was not taken
            raise
        at = 0
        for each in parameters:
            each.grad = total[at : at + each.numel()].view_as(each).clone()
            at += each.numel()
        return total[-2], bool(total[-1] > 0)


def _gradient(model: Ranker, parameters: list[nn.Parameter], rows: DeviceRows, batch: Batch, part: slice) -> Tensor:
    """What a part adds to the gradient and to the batch's mean loss: [numbers of all parameters + 1]."""
    model.zero_grad(set_to_none=True)
    loss = rows.labels.new_zeros(())
    some = batch.part(part)
    if len(some):
        labels = rows.labels[some.picked]
        loss = binary_cross_entropy_with_logits(logits(model, rows, some), labels, reduction="sum") / len(batch)
        torch.autograd.backward(loss)
    flat = [torch.zeros_like(each).flatten() if each.grad is None else each.grad.flatten() for each in parameters]
    return torch.cat([*flat, loss.detach()[None]])


def _sum_in_order(parts: Tensor) -> Tensor:
    """[parts, n] -> [n], the first plus the second plus …: the same bits whoever computed which."""
    total = parts[0]
    for each in parts[1:]:
        total = total + each
    return total


class _Cut:
    """Which rows of a batch are computed now."""

    def __init__(self) -> None:
        self.count, self.rows = 0, slice(0)

    def to(self, count: int, number: int, parts: int) -> None:
        self.count, self.rows = count, slice(count * number // parts, count * (number + 1) // parts)


class _CutDropout(nn.Module):
    """`nn.Dropout` of a whole batch, for some of its rows."""

    def __init__(self, share: float, cut: _Cut) -> None:
        super().__init__()
        self._share, self._cut = share, cut

    def forward(self, some: Tensor) -> Tensor:  # [rows of the part, …]
        if not self.training or self._share == 0:
            return some
        return some * dropout(some.new_ones(self._cut.count, *some.shape[1:]), self._share)[self._cut.rows]


@contextmanager
def _cut_dropout(model: nn.Module) -> Iterator[_Cut]:
    """Dropout that knows which rows it sees, in place of the model's own, for the time of a block."""
    cut = _Cut()
    replaced = [
        (module, name, child)
        for module in list(model.modules())
        for name, child in module.named_children()
        if isinstance(child, nn.Dropout)
    ]
    for module, name, child in replaced:
        setattr(module, name, _CutDropout(child.p, cut).train(child.training))
    try:
        yield cut
    finally:
        for module, name, child in replaced:
            setattr(module, name, child)
