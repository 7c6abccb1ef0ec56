"""A stack of linear layers with ReLU."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from torch import nn


def mlp(sizes: Sequence[int], dropout: float) -> nn.Sequential:
    """[rows, sizes[0]] -> [rows, sizes[-1]]; ReLU and dropout after every layer. One size gives the identity."""
    layers: list[nn.Module] = []
    for fan_in, fan_out in pairwise(sizes):
        layers += [nn.Linear(fan_in, fan_out), nn.ReLU(), nn.Dropout(dropout)]
    return nn.Sequential(*layers)
