"""A trained ranker as an ONNX file, and the proof that it scores as PyTorch does."""

from __future__ import annotations

import logging
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import torch

from models.contract import Contract
from models.export.metadata import CONTRACT_DIGEST, CONTRACT_VERSION
from models.files import write_atomic
from models.recommender.build import Ranker

Tensors = dict[str, npt.NDArray[Any]]
OPSET = 20
TOLERANCE = 1e-5
BATCH_SIZES = (1, 2, 7, 64, 1000, 4096)


class ExportError(RuntimeError):
    """The exported file does not score as the PyTorch model does."""


def export_onnx(model: Ranker, contract: Contract, path: Path) -> None:
    """Write `model` to `path` with a free batch axis and the contract's digest in the metadata; whole or not at all.

    Inputs and the output have the contract's names, dtypes and shapes. The weights are inside the file.
    """
    example = [torch.from_numpy(array) for array in random_inputs(contract, rows=3, seed=0).values()]
    rows = torch.export.Dim("rows", min=1)
    was_training = model.training
    model.eval()
    try:
        with tempfile.TemporaryDirectory() as folder, _quiet_exporter():
            scratch = Path(folder) / "model.onnx"
            torch.onnx.export(
                model,
                tuple(example),
                scratch,
                input_names=[tensor.name for tensor in contract.tensors],
                output_names=[contract.output.name],
                opset_version=OPSET,
                dynamo=True,
                dynamic_shapes=(tuple({0: rows} for _ in example),),
                external_data=False,
                verbose=False,
            )
            exported = onnx.load(scratch)
    finally:
        model.train(was_training)
    onnx.helper.set_model_props(exported, {CONTRACT_DIGEST: contract.digest, CONTRACT_VERSION: str(contract.version)})
    onnx.checker.check_model(exported, full_check=True)
    write_atomic(path, exported.SerializeToString())


@contextmanager
def _quiet_exporter() -> Iterator[None]:
    """Hide what torch 2.13's exporter says about itself: none of it is about the model that is exported."""
    logger = logging.getLogger("torch.onnx._internal.exporter._registration")  # "torchvision is not installed"
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", category=FutureWarning, message=".*LeafSpec.*")
            warnings.filterwarnings("ignore", category=UserWarning, message=".*axis name: rows will not be used.*")
            warnings.filterwarnings("ignore", category=DeprecationWarning)
            yield
    finally:
        logger.setLevel(level)


def check_parity(
    model: Ranker, path: Path, contract: Contract, *, batch_sizes: Sequence[int] = BATCH_SIZES, seed: int = 0
) -> float:
    """The greatest difference between ONNX Runtime's and PyTorch's scores over random valid rows of every batch size.

    Raises:
        ExportError: a difference above 1e-5, a score that is no number, or a wrong shape; names the worst row.
    """
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    worst = 0.0
    for rows in batch_sizes:
        inputs = random_inputs(contract, rows, seed + rows)
        expected = torch_scores(model, inputs)
        (actual,) = session.run([contract.output.name], inputs)
        if actual.shape != (rows,) or actual.dtype != np.float32:
            raise ExportError(f"{path}: {rows} rows give {actual.dtype} {actual.shape}; expected float32 ({rows},)")
        difference = np.abs(actual.astype(np.float64) - expected)
        difference[~np.isfinite(difference)] = np.inf
        row = int(difference.argmax())
        if difference[row] > TOLERANCE:
            raise ExportError(
                f"{path}: row {row} of a batch of {rows} scores {actual[row]:.8f} in ONNX Runtime and "
                f"{expected[row]:.8f} in PyTorch, {difference[row]:.2e} apart; "
                f"expected at most {TOLERANCE:g}. Its inputs: "
                f"{ {name: values[row].tolist() for name, values in inputs.items()} }"
            )
        worst = max(worst, float(difference[row]))
    return worst


def torch_scores(model: Ranker, inputs: Tensors) -> npt.NDArray[Any]:
    """The model's probabilities for encoded tensors: float32 [rows]. Dropout is off; the model's mode is kept."""
    was_training = model.training
    device = next(model.parameters()).device
    model.eval()
    try:
        with torch.inference_mode():
            scores = model(*(torch.tensor(values, device=device) for values in inputs.values()))
            return np.asarray(scores.cpu().numpy())
    finally:
        model.train(was_training)


def random_inputs(contract: Contract, rows: int, seed: int) -> Tensors:
    """Random tensors that the contract could give: every bucket of every table may occur, captions end in padding."""
    draw = np.random.default_rng(seed)
    tensors: Tensors = {}
    if contract.dense:
        tensors["dense"] = draw.normal(size=(rows, len(contract.dense))).astype(np.float32)
    if contract.categorical:
        columns = [draw.integers(0, feature.buckets, rows) for feature in contract.categorical]
        tensors["categorical"] = np.stack(columns, axis=1)
    if contract.caption is not None:
        tensors["caption"] = _random_captions(contract, rows, draw)
    return tensors


def _random_captions(contract: Contract, rows: int, draw: np.random.Generator) -> npt.NDArray[Any]:
    assert contract.caption is not None
    width = contract.caption.width
    lengths = draw.integers(1, width + 1, rows)
    shown = np.arange(width) < lengths[:, None]  # [rows, T]
    parts = [np.where(shown, draw.integers(1, size, (rows, width)), 0) for size in contract.caption.table_sizes]
    return parts[0] if contract.caption.parts == 1 else np.stack(parts, axis=2)
