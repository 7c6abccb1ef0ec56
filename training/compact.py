"""Training with the table rows that occur, and only those.

Tables are sized for ids to come: most of their buckets never appear in training, and a dense optimizer would step
through all of them at every batch. So the tables are cut to the buckets of the training rows before the loop and
grown back after it. What the grown table holds for a bucket that training never showed is decided here, not left to
chance: of a categorical feature it is the vector of a missing value (bucket 0, which training learns from the rows
that hide the feature), of a caption part it is zero, so that an unknown n-gram moves nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import nn

from models.recommender.build import Ranker
from training.rows import Ints, Parts, Rows

_MISSING = 0


@dataclass(frozen=True, slots=True)
class _Table:
    """Which buckets of one table are kept, and where each bucket went."""

    buckets: int
    kept: Ints  # ascending; the new row of kept[i] is i
    stray: int  # the new row of a bucket that is not kept

    @classmethod
    def of(cls, buckets: int, occurring: Ints, stray_row: int | None) -> _Table:
        kept = np.unique(occurring)
        return cls(buckets, kept, len(kept) if stray_row is None else stray_row)

    def map(self, ids: Ints) -> Ints:
        index = np.full(self.buckets, self.stray, dtype=np.int64)
        index[self.kept] = np.arange(len(self.kept))
        return index[ids]


@dataclass(frozen=True, slots=True)
class Compact:
    """The cut of one training set. `parts` are its rows with bucket numbers of the cut tables."""

    parts: Parts
    categorical: tuple[_Table, ...]
    caption: tuple[_Table, ...]

    @classmethod
    def of(cls, parts: Parts, categorical_buckets: tuple[int, ...], caption_buckets: tuple[int, ...]) -> Compact:
        """Cut to what `parts.train` shows. Bucket 0 stays in every table, and is row 0 of it."""
        categorical = tuple(
            _Table.of(size, np.append(parts.train.categorical[:, column], _MISSING), _MISSING)
            for column, size in enumerate(categorical_buckets)
        )
        captions = parts.train.captions
        caption: tuple[_Table, ...] = ()
        small = None
        if captions is not None:
            shaped = captions if captions.ndim == 3 else captions[:, :, None]  # [items, T, k]
            shown = shaped[np.unique(parts.train.item)]
            used = (shaped != 0).any(axis=(0, 2))  # columns that are padding in every caption say nothing
            caption = tuple(
                _Table.of(size, np.append(shown[:, :, part], (0, 1)), None) for part, size in enumerate(caption_buckets)
            )
            columns = [table.map(shaped[:, used, part]) for part, table in enumerate(caption)]
            small = columns[0] if captions.ndim == 2 else np.stack(columns, axis=2)

        def cut(rows: Rows) -> Rows:
            mapped = [table.map(rows.categorical[:, column]) for column, table in enumerate(categorical)]
            ids = np.stack(mapped, axis=1) if mapped else rows.categorical
            return replace(rows, categorical=ids, captions=small)

        return cls(Parts(cut(parts.train), cut(parts.valid), cut(parts.test)), categorical, caption)

    def shrink(self, model: Ranker) -> None:
        """Cut the model's tables in place. Vectors of missing values, and of strays, start at zero."""
        for table, tables in self._tables(model):
            for place, cut in enumerate(table):
                full = _weight(tables, place)
                small = full[torch.from_numpy(cut.kept)].clone()
                small[_MISSING] = 0.0
                if cut.stray == len(cut.kept):
                    small = torch.cat([small, torch.zeros(1, small.shape[1])])
                tables[place] = nn.Embedding(small.shape[0], small.shape[1], _weight=small)

    def grow(self, model: Ranker) -> None:
        """Give the model its full tables back, in place; it then takes the contract's own bucket numbers."""
        for table, tables in self._tables(model):
            for place, cut in enumerate(table):
                small = _weight(tables, place)
                full = small[cut.stray].repeat(cut.buckets, 1)
                full[torch.from_numpy(cut.kept)] = small[: len(cut.kept)]
                tables[place] = nn.Embedding(full.shape[0], full.shape[1], _weight=full)

    def _tables(self, model: Ranker) -> list[tuple[tuple[_Table, ...], nn.ModuleList]]:
        found = []
        if model.categorical is not None:
            found.append((self.categorical, model.categorical.tables))
        if model.caption is not None:
            found.append((self.caption, model.caption.tables))
        return found


def _weight(tables: nn.ModuleList, place: int) -> torch.Tensor:
    """A table's vectors [buckets, size], detached, on the CPU."""
    return next(tables[place].parameters()).detach().cpu()
