"""Raw values and tokens to the ranker's tensors: the one encoder of training and serving."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from models.contract.caption import CaptionEncoder
from models.contract.columns import CategoricalEncoder, Column, checked_length, encode_dense
from models.contract.errors import refuse
from models.contract.features import SOURCES, Source
from models.contract.schema import Contract
from models.contract.tokens import TokenRows

Float32s = npt.NDArray[np.float32]
Int64s = npt.NDArray[np.int64]
Tokens = TokenRows | Sequence[npt.NDArray[np.integer[Any]] | None]


@dataclass(frozen=True, slots=True)
class Side:
    """The encoded features of one source: dense float32 [rows, d_s], categorical int64 [rows, c_s]."""

    dense: Float32s
    categorical: Int64s

    @property
    def rows(self) -> int:
        """How many rows it has."""
        return len(self.dense)


class FeatureEncoder:
    """Encodes by one contract. Pure: the same row gives the same bytes, in any batch and order. Safe for threads."""

    def __init__(self, contract: Contract) -> None:
        self.contract = contract
        self._categorical = {f.name: CategoricalEncoder(f) for f in contract.categorical}
        self._caption = None if contract.caption is None else CaptionEncoder(contract.caption)
        self._dense_order = _order([f.source for f in contract.dense])
        self._categorical_order = _order([f.source for f in contract.categorical])

    def side(self, source: Source, columns: Mapping[str, Column], rows: int) -> Side:
        """Encode the features of one source; columns in the contract's order.

        A missing column, None or NaN becomes the default or bucket 0. Raises `FeatureValueError` for an unknown column,
        a wrong length, or a value that does not fit.
        """
        self._refuse_unknown(source, columns)
        if rows < 0:
            refuse("rows", None, rows, "a number of rows, 0 or more", "give the length of the columns")
        dense = [f for f in self.contract.dense if f.source == source]
        categorical = [f for f in self.contract.categorical if f.source == source]
        side = Side(np.empty((rows, len(dense)), np.float32), np.empty((rows, len(categorical)), np.int64))
        for place, number in enumerate(dense):
            side.dense[:, place] = encode_dense(number, _column(columns, number.name, rows))
        for place, feature in enumerate(categorical):
            encoder = self._categorical[feature.name]
            side.categorical[:, place] = encoder.encode(_column(columns, feature.name, rows))
        return side

    def caption(self, tokens: Tokens) -> Int64s:
        """Buckets of captions: int64 [rows, T], or [rows, T, k] for k > 1.

        `tokens`: one int array per row, or flat `TokenRows`. None or empty gives the no-caption row (1, 0, 0..).
        Raises `FeatureValueError` for tokens that no tokenizer of this contract gives.
        """
        if self._caption is None:
            refuse("caption", None, tokens, "no tokens: the contract has no caption", "leave the tokens out")
        return self._caption.encode(tokens if isinstance(tokens, TokenRows) else TokenRows.of(tokens))

    def join(self, user: Side, context: Side, item: Side, caption: Int64s | None) -> dict[str, npt.NDArray[Any]]:
        """The tensors of `contract.tensors`, C-contiguous; parts with one row are repeated to the others' rows."""
        parts: dict[Source, Side] = {"user": user, "context": context, "item": item}
        self._check_caption(caption)
        lengths = [side.rows for side in parts.values()] + ([] if caption is None else [len(caption)])
        rows = _common_rows(lengths)
        tensors: dict[str, npt.NDArray[Any]] = {}
        if self.contract.dense:
            blocks = [self._wide(source, parts[source].dense, "dense", rows) for source in SOURCES]
            tensors["dense"] = np.ascontiguousarray(np.concatenate(blocks, axis=1)[:, self._dense_order])
        if self.contract.categorical:
            blocks = [self._wide(source, parts[source].categorical, "categorical", rows) for source in SOURCES]
            tensors["categorical"] = np.ascontiguousarray(np.concatenate(blocks, axis=1)[:, self._categorical_order])
        if caption is not None:
            tensors["caption"] = np.ascontiguousarray(np.broadcast_to(caption, (rows, *caption.shape[1:])))
        return tensors

    def encode(self, columns: Mapping[str, Column], tokens: Tokens | None) -> dict[str, npt.NDArray[Any]]:
        """All sources' columns of equal length, and the tokens, to tensors: what training batches use."""
        rows = _rows(columns, tokens)
        if tokens is None and self._caption is not None:
            refuse("caption", None, None, "tokens: the contract has a caption", "give a list with None where unknown")
        known = {name for source in SOURCES for name in self.contract.names(source)}
        _refuse_unknown(columns, known, "the contract")
        sides = {
            source: self.side(source, {n: columns[n] for n in self.contract.names(source) if n in columns}, rows)
            for source in SOURCES
        }
        caption = None if tokens is None else self.caption(tokens)
        if caption is not None and len(caption) != rows:
            fix = "give one array of tokens per row, None where there is no caption"
            refuse("caption", None, f"{len(caption)} rows of tokens", f"{rows} rows", fix)
        return self.join(sides["user"], sides["context"], sides["item"], caption)

    def _refuse_unknown(self, source: Source, columns: Mapping[str, Column]) -> None:
        _refuse_unknown(columns, set(self.contract.names(source)), source)

    def _check_caption(self, caption: Int64s | None) -> None:
        feature = self.contract.caption
        if feature is None or caption is None:
            if (feature is None) != (caption is None):
                expected = "no caption tensor" if feature is None else "a caption tensor"
                fix = "pass None" if feature is None else "encode the tokens with `caption`, None for unknown ones"
                refuse("caption", None, caption, f"{expected}, as the contract says", fix)
            return
        shape = (feature.width,) if feature.parts == 1 else (feature.width, feature.parts)
        if caption.dtype != np.int64 or caption.shape[1:] != shape:
            actual = f"{caption.dtype} {list(caption.shape)}"
            refuse(
                "caption",
                None,
                actual,
                f"int64 [rows, {', '.join(map(str, shape))}]",
                "make it with `FeatureEncoder.caption`",
            )

    def _wide(self, source: Source, block: npt.NDArray[Any], kind: str, rows: int) -> npt.NDArray[Any]:
        features = self.contract.dense if kind == "dense" else self.contract.categorical
        width = sum(f.source == source for f in features)
        dtype = np.float32 if kind == "dense" else np.int64
        if block.ndim != 2 or block.shape[1] != width or block.dtype != dtype:
            actual = f"{block.dtype} {list(block.shape)}"
            refuse(f"{source}.{kind}", None, actual, f"{np.dtype(dtype)} [rows, {width}]", "make it with `side`")
        return np.broadcast_to(block, (rows, width))


def encode(contract: Contract, columns: Mapping[str, Column], tokens: Tokens | None) -> dict[str, npt.NDArray[Any]]:
    """`FeatureEncoder(contract).encode(columns, tokens)`; keep a `FeatureEncoder` where there are many batches."""
    return FeatureEncoder(contract).encode(columns, tokens)


def _order(sources: Sequence[Source]) -> list[int]:
    """Where each feature of the contract stands once the sides are put side by side in the order of SOURCES."""
    places = sorted(range(len(sources)), key=lambda i: (SOURCES.index(sources[i]), i))
    return [places.index(i) for i in range(len(sources))]


def _column(columns: Mapping[str, Column], name: str, rows: int) -> Column:
    return checked_length(name, columns[name], rows) if name in columns else [None] * rows


def _refuse_unknown(columns: Mapping[str, Column], known: set[str], owner: str) -> None:
    for name in columns:
        if name not in known:
            expected = f"one of {owner}'s features: {', '.join(sorted(known)) or 'none'}"
            refuse(str(name), None, "a column", expected, "remove the column or correct its name")


def _rows(columns: Mapping[str, Column], tokens: Tokens | None) -> int:
    for column in columns.values():
        return len(column)
    return 0 if tokens is None else len(tokens)


def _common_rows(lengths: Sequence[int]) -> int:
    many = {length for length in lengths if length != 1}
    if len(many) > 1:
        refuse("rows", None, list(lengths), "equal numbers of rows, or 1", "encode all parts for the same rows")
    return many.pop() if many else 1
