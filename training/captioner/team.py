"""Data parallel training by processes of one thread each: they meet once a step, not at every matrix product.

On a machine whose cores others use too, threads that wait for each other at every operation take several times as long.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as mp


@dataclass(frozen=True, slots=True)
class Team:
    """Process `rank` of `size` that train one model; alone (size 1) nothing is exchanged."""

    rank: int = 0
    size: int = 1

    def part(self, rows: torch.Tensor) -> torch.Tensor:
        """This process's share of a batch; equal shares, so that the mean of their means is the batch's mean."""
        return rows[self.rank :: self.size]

    def average(self, gradients: Sequence[torch.Tensor]) -> None:
        """Replace every process's gradients by their mean, in place."""
        if self.size == 1:
            return
        flat = torch.cat([gradient.flatten() for gradient in gradients])
        dist.all_reduce(flat)
        flat /= self.size
        parts = torch.split(flat, [gradient.numel() for gradient in gradients])
        for gradient, mean in zip(gradients, parts, strict=True):
            gradient.copy_(mean.view_as(gradient))


def gather(size: int, work: Callable[[Team, Any], None], job: Any, meeting: Path) -> None:
    """Run `work(team, job)` in `size` processes that meet at the file `meeting`, which must not exist yet.

    `work` is a module's function and `job` is picklable, for the processes are started afresh. A failure in one ends
    all.
    """
    mp.spawn(  # type: ignore[attr-defined,no-untyped-call]
        _member, args=(size, work, job, meeting), nprocs=size
    )


def _member(rank: int, size: int, work: Callable[[Team, Any], None], job: Any, meeting: Path) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=meeting.resolve().as_uri(), rank=rank, world_size=size)
    try:
        work(Team(rank, size), job)
    finally:
        dist.destroy_process_group()
