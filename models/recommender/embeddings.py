"""Bucket numbers to vectors: one table per categorical feature and per part of the caption.

Plain `nn.Embedding` over padded ids and a mask, no `nn.EmbeddingBag`: that one does not export cleanly to ONNX
(pytorch#138485, #58567, #128930).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

PADDING = 0
NO_CAPTION = 1


class CategoricalEmbeddings(nn.Module):
    """One table per categorical feature: ids int64 [rows, C] -> [rows, C, size]."""

    def __init__(self, table_sizes: Sequence[int], size: int, init_std: float) -> None:
        super().__init__()
        self.tables = nn.ModuleList(_table(rows, size, init_std) for rows in table_sizes)

    def forward(self, ids: Tensor) -> Tensor:
        vectors = [table(ids[:, column]) for column, table in enumerate(self.tables)]  # C times [rows, size]
        return torch.stack(vectors, dim=1)  # [rows, C, size]


class CaptionEmbedding(nn.Module):
    """A caption's buckets to one vector: ids int64 [rows, T] (or [rows, T, k]) -> [rows, size].

    The k parts of a token (multihash, quotient and remainder) have a table each and their vectors are added. Padding
    takes no part; a row of padding alone gives zeros. `attention` weighs the tokens by softmax(v . w) with a
    learned w that starts at zero, that is at the plain mean.
    """

    def __init__(
        self, table_sizes: Sequence[int], size: int, init_std: float, pooling: Literal["mean", "attention"]
    ) -> None:
        super().__init__()
        self.tables = nn.ModuleList(_table(rows, size, init_std) for rows in table_sizes)
        self.attention = nn.Linear(size, 1, bias=False) if pooling == "attention" else None
        if self.attention is not None:
            nn.init.zeros_(self.attention.weight)

    def forward(self, ids: Tensor) -> Tensor:
        parts = ids.unsqueeze(2) if ids.dim() == 2 else ids  # [rows, T, k]
        mask = (parts[:, :, :1] != PADDING).to(torch.float32)  # [rows, T, 1]
        tokens = self.tables[0](parts[:, :, 0])  # [rows, T, size]
        for part, table in enumerate(self.tables[1:], start=1):
            tokens = tokens + table(parts[:, :, part])
        weights = mask if self.attention is None else mask * _stable_exp(self.attention(tokens), mask)
        total = weights.sum(dim=1).clamp(min=1e-12)  # [rows, 1]
        pooled: Tensor = (tokens * weights).sum(dim=1) / total
        return pooled  # [rows, size]

    def no_caption(self) -> Tensor:
        """The vector of an item without a caption (bucket 1 alone): [size]."""
        ids = torch.tensor([NO_CAPTION], device=next(self.parameters()).device)
        return torch.cat([table(ids) for table in self.tables]).sum(dim=0)


def _stable_exp(logits: Tensor, mask: Tensor) -> Tensor:
    """exp of logits [rows, T, 1] less their greatest unmasked one, so that no row overflows."""
    highest = logits.masked_fill(mask == 0, -1e30).amax(dim=1, keepdim=True)
    return torch.exp((logits - highest).clamp(max=0.0))


def _table(rows: int, size: int, init_std: float) -> nn.Embedding:
    table = nn.Embedding(rows, size)
    nn.init.normal_(table.weight, std=init_std)
    return table
