"""Classifiers over the vision tower's patches: they teach the tower to see before it learns to speak.

One classifier per attribute looks at the whole picture; two more say for every patch which kind of object covers it
and in which colour. Without those, the kinds are not learned at all for the first thousand steps. All of them are
thrown away after training; the captioner itself is a plain LLaVA.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn

from training.captioner.render import layout
from training.captioner.scene import ALLOWED, ATTRIBUTES, COLOURS, KINDS, Scene

GRID = 6
MARGIN = 0.9


@dataclass(frozen=True, slots=True)
class Labels:
    """int64 [N, attributes] values; int64 [N, GRID * GRID] kinds and colours of the patches, 0 where no object is."""

    attributes: torch.Tensor
    kinds: torch.Tensor
    colours: torch.Tensor

    def take(self, rows: torch.Tensor) -> "Labels":
        """The labels of some pictures."""
        return Labels(self.attributes[rows], self.kinds[rows], self.colours[rows])


def labels(scenes: Sequence[Scene]) -> Labels:
    """The labels of pictures, from what was drawn in them and where."""
    indices = {name: {value: i for i, value in enumerate(ALLOWED[name])} for name in ATTRIBUTES}
    rows = [[indices[name][getattr(scene, name)] for name in ATTRIBUTES] for scene in scenes]
    kinds = torch.zeros(len(scenes), GRID * GRID, dtype=torch.int64)
    colours = torch.zeros_like(kinds)
    for i, scene in enumerate(scenes):
        for kind, x, y, half in layout(scene):
            colour = scene.colour if kind == scene.kind else "white"
            for patch in _covered(x, y, half * MARGIN):
                kinds[i, patch] = KINDS.index(kind) + 1
                colours[i, patch] = COLOURS.index(colour) + 1
    return Labels(torch.tensor(rows, dtype=torch.int64), kinds, colours)


def _covered(x: float, y: float, half: float) -> list[int]:
    """Patches whose middle lies in the square, or the one patch that holds its centre."""
    middles = [(i + 0.5) / GRID for i in range(GRID)]
    columns = [i for i, middle in enumerate(middles) if abs(middle - x) < half] or [int(x * GRID)]
    rows = [i for i, middle in enumerate(middles) if abs(middle - y) < half] or [int(y * GRID)]
    return [row * GRID + column for row in rows for column in columns]


class Lookers(nn.Module):
    """Each attribute has a learned query that attends to the patches, and a linear classifier of what it finds."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.query = nn.Parameter(torch.randn(len(ATTRIBUTES), width) * 0.02)
        self.key = nn.Linear(width, width, bias=False)
        self.norm = nn.LayerNorm(width)
        self.patch_norm = nn.LayerNorm(width)
        self.classes = nn.ModuleList(nn.Linear(width, len(ALLOWED[name])) for name in ATTRIBUTES)
        self.kinds = nn.Linear(width, len(KINDS) + 1)
        self.colours = nn.Linear(width, len(COLOURS) + 1)

    def forward(self, patches: torch.Tensor) -> list[torch.Tensor]:
        """Patches [N, P, width] to one logits tensor [N, values] per attribute."""
        weights = torch.softmax(self.query @ self.key(patches).transpose(1, 2) / patches.shape[-1] ** 0.5, dim=-1)
        found = self.norm(weights @ patches)  # [N, attributes, width]
        return [head(found[:, i]) for i, head in enumerate(self.classes)]

    def loss(self, patches: torch.Tensor, wanted: Labels) -> torch.Tensor:
        """Mean cross entropy over the attributes, plus that of the patches' kinds and colours."""
        logits = self(patches)
        losses = [nn.functional.cross_entropy(found, wanted.attributes[:, i]) for i, found in enumerate(logits)]
        seen = self.patch_norm(patches).flatten(0, 1)
        kinds = nn.functional.cross_entropy(self.kinds(seen), wanted.kinds.flatten())
        colours = nn.functional.cross_entropy(self.colours(seen), wanted.colours.flatten())
        return torch.stack(losses).mean() + kinds + 0.5 * colours
