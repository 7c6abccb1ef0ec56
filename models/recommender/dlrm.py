"""DLRM (arXiv 1906.00091): dense features through a bottom network, dot products of all pairs, a top network."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from models.recommender.mlp import mlp


def pairwise_dots(vectors: Tensor) -> Tensor:
    """Dot products of all pairs i > j of F vectors: [rows, F, size] -> [rows, F (F - 1) / 2], in row-major order."""
    count = vectors.shape[1]
    dots = torch.bmm(vectors, vectors.transpose(1, 2))  # [rows, F, F]
    lower = torch.tensor(
        [i * count + j for i in range(count) for j in range(i)], dtype=torch.int64, device=vectors.device
    )
    return dots.flatten(1).index_select(1, lower)


class DLRM(nn.Module):
    """Vectors of the fields [rows, F, size] and dense features [rows, D] (or none) -> logits [rows]."""

    def __init__(
        self, fields: int, size: int, dense: int, bottom: Sequence[int], top: Sequence[int], dropout: float
    ) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.bottom = mlp([dense, *bottom, size], 0.0) if dense else None
        vectors = fields + (dense > 0)
        width = vectors * (vectors - 1) // 2 + (size if dense else fields * size)
        self.top = mlp([width, *top], dropout)
        self.out = nn.Linear(top[-1] if top else width, 1)

    def forward(self, vectors: Tensor, dense: Tensor | None) -> Tensor:
        vectors = self.dropout(vectors)
        if self.bottom is None or dense is None:
            direct = vectors.flatten(1)  # [rows, F * size]
        else:
            direct = self.bottom(dense)  # [rows, size]
            vectors = torch.cat([direct.unsqueeze(1), vectors], dim=1)  # [rows, 1 + F, size]
        joined = torch.cat([direct, pairwise_dots(vectors)], dim=1)
        logits: Tensor = self.out(self.top(joined)).squeeze(1)
        return logits  # [rows]
