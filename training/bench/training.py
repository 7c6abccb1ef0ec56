"""Training rows a second: this project's loop beside the plain one that it grew out of, on the same model and rows.

The plain loop feeds the contract's tensors as they are: captions once per row, whole tables in the optimizer. Ours
pools each caption once per item of a batch and trains the buckets that occur. Every round runs each way once, in turn;
figures are the median and the range over the rounds. Nothing is asserted: `make bench` prints the rows.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from torch.nn.functional import binary_cross_entropy_with_logits

from models.contract import CaptionFeature, CategoricalFeature, Contract, DenseFeature, HashBuckets, HashEncoder
from models.recommender.build import build_ranker
from models.recommender.config import DCNSettings
from training.compact import Compact
from training.loop import fit
from training.rows import Parts, Rows

ROWS = 60_000
ITEMS = 5_000
BATCH = 4096
TOKENS = 16
BUCKETS = 2**15


@dataclass(frozen=True, slots=True)
class TrainingRow:
    """One way: training rows per second (median, slowest, fastest round) and the ratio to the plain loop."""

    way: str
    median: float
    low: float
    high: float
    ratio: float


def measure(*, rows: int = ROWS, rounds: int = 3, threads: int | None = None) -> list[TrainingRow]:
    """Measure with 10 categorical features, 5 dense ones and captions of 16 tokens; `threads`: all cores if None."""
    used = threads or os.cpu_count() or 1
    with_captions, without = _contract(True), _contract(False)
    data = _rows(rows)
    ways: dict[str, Callable[[], float]] = {
        "plain loop, with captions": partial(_plain, with_captions, data, used),
        "this project's loop, with captions": partial(_ours, with_captions, data, used),
        "this project's loop, without captions": partial(_ours, without, data, used),
    }
    found: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            found[name].append(rows / way())
    plain = statistics.median(found["plain loop, with captions"])
    return [
        TrainingRow(name, statistics.median(rates), min(rates), max(rates), statistics.median(rates) / plain)
        for name, rates in found.items()
    ]


def _ours(contract: Contract, data: Rows, threads: int) -> float:
    """Seconds of one epoch, the cut of the tables included."""
    model = build_ranker(contract, DCNSettings())
    began = time.perf_counter()
    tables = contract.caption.table_sizes if contract.caption else ()
    used = data if contract.caption else replace(data, captions=None)
    empty = _slice(used, 0)
    compact = Compact.of(Parts(used, empty, empty), tuple(f.buckets for f in contract.categorical), tables)
    compact.shrink(model)
    fit(
        model,
        compact.parts.train,
        compact.parts.valid,
        seed=1,
        epochs=1,
        batch_size=BATCH,
        patience=1,
        learning_rate=1e-3,
        weight_decay=0.0,
        threads=threads,
    )
    compact.grow(model)
    return time.perf_counter() - began


def _plain(contract: Contract, data: Rows, threads: int) -> float:
    """Seconds of one epoch over the contract's own tensors."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    model = build_ranker(contract, DCNSettings()).train()
    tensors = [torch.from_numpy(array) for array in data.tensors(contract).values()]
    labels = torch.from_numpy(data.labels)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.0, fused=True)
    began = time.perf_counter()
    for picked in torch.split(torch.randperm(len(data), generator=torch.Generator().manual_seed(1)), BATCH):
        optimizer.zero_grad(set_to_none=True)
        logits = model.logits(*(tensor[picked] for tensor in tensors))
        torch.autograd.backward(binary_cross_entropy_with_logits(logits, labels[picked]))
        optimizer.step()
    seconds = time.perf_counter() - began
    torch.set_num_threads(before)
    return seconds


def _contract(captions: bool) -> Contract:
    return Contract(
        name="bench",
        version=1,
        dense=tuple(DenseFeature(name=f"number_{n}", source="user", default=0.0) for n in range(5)),
        categorical=tuple(
            CategoricalFeature(name=f"field_{n}", source="user", encoding=HashBuckets(buckets=BUCKETS))
            for n in range(10)
        ),
        caption=CaptionFeature(
            tokenizer_sha256="0" * 64, max_tokens=TOKENS, encoder=HashEncoder(buckets=BUCKETS, seed=0, max_ngram=1)
        )
        if captions
        else None,
    )


def _rows(count: int) -> Rows:
    draw = np.random.default_rng(0)
    names = np.array([str(number) for number in range(count)], dtype=object)
    return Rows(
        dense=draw.normal(size=(count, 5)).astype(np.float32),
        categorical=np.minimum(draw.zipf(1.2, size=(count, 10)) + 1, BUCKETS - 1).astype(np.int64),
        labels=(draw.random(count) < 0.5).astype(np.float32),
        item=np.minimum(draw.zipf(1.2, size=count) - 1, ITEMS - 1).astype(np.int64),
        captions=draw.integers(2, BUCKETS, (ITEMS, TOKENS)),
        users=names,
        items=names,
    )


def _slice(rows: Rows, count: int) -> Rows:
    names = ("dense", "categorical", "labels", "item", "users", "items")
    return replace(rows, **{name: getattr(rows, name)[:count] for name in names})
