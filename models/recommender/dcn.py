"""DCN-v2 (arXiv 2008.13535): explicit feature crosses, then a deep network."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from models.recommender.mlp import mlp


class CrossLayer(nn.Module):
    """x' = x0 * (W x + b) + x (formula 1), or W = U V with U [size, rank], V [rank, size] (formula 2)."""

    def __init__(self, size: int, rank: int | None = None) -> None:
        super().__init__()
        self.down = None if rank is None else nn.Linear(size, rank, bias=False)  # V
        self.linear = nn.Linear(size if rank is None else rank, size)  # W or U, and b

    def forward(self, x0: Tensor, x: Tensor) -> Tensor:  # both [rows, size]
        projected = x if self.down is None else self.down(x)
        crossed: Tensor = x0 * self.linear(projected) + x
        return crossed


class DCN(nn.Module):
    """The parallel form: logit = w . [cross(x0), deep(x0)] + b, for x0 of all fields' vectors and the dense features.

    The cross branch keeps x0 itself (its residual), so a linear model over the fields is one of its settings.
    """

    def __init__(
        self, size: int, cross_layers: int, cross_rank: int | None, deep: Sequence[int], dropout: float
    ) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.crosses = nn.ModuleList(CrossLayer(size, cross_rank) for _ in range(cross_layers))
        self.deep = mlp([size, *deep], dropout) if deep else None
        self.out = nn.Linear(size + (deep[-1] if deep else 0), 1)

    def forward(self, x0: Tensor) -> Tensor:  # [rows, size]
        x = x0 = self.dropout(x0)
        for cross in self.crosses:
            x = cross(x0, x)
        joined = x if self.deep is None else torch.cat([x, self.deep(x0)], dim=1)
        logits: Tensor = self.out(joined).squeeze(1)
        return logits  # [rows]
