"""What the transformer costs: the same candidates ranked through it, scored by Triton alone, and in process.

All ways are called in turn within one run, so that a busy machine slows them alike; read the ratios, not the
milliseconds. One client, one call at a time. "scored" ways get finished tensors; "ranked" ways get ids and do all.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import numpy.typing as npt
import onnxruntime
import tritonclient.grpc as triton_grpc

from models.bundle import Bundle, read_bundle
from models.contract import CaptionTokenizer
from serving.items.lmdb_store import LmdbStore
from serving.transformer.features import FeatureBuilder
from serving.transformer.request import RankRequest
from serving.transformer.stores import StoreConnection

BASELINE = "Triton by gRPC, finished tensors"
Tensors = Mapping[str, npt.NDArray[Any]]


class BenchError(RuntimeError):
    """The ways do not give the same scores, or there is too little to rank."""


@dataclass(frozen=True, slots=True)
class RankingRow:
    """One way of scoring: milliseconds at the median and the 99th percentile, and both over the baseline's."""

    way: str
    p50_ms: float
    p99_ms: float
    p50_ratio: float
    p99_ratio: float


def measure_ranking(
    *,
    bundle: Path,
    store: Path,
    model_name: str,
    transformer_http: str,
    transformer_grpc: str,
    triton_grpc_address: str,
    user_id: str,
    candidates: int = 500,
    rounds: int = 300,
    warm_up: int = 30,
) -> list[RankingRow]:
    """Measure ranking of `candidates` known items. Addresses are `host:port`.

    Raises `BenchError` when the store has fewer items or the ways disagree by more than 1e-5.
    """
    read = read_bundle(bundle)
    item_ids = _item_ids(store, candidates)
    tensors = _tensors(read, store, RankRequest(user_id, item_ids))
    with (
        triton_grpc.InferenceServerClient(transformer_grpc) as ours,
        triton_grpc.InferenceServerClient(triton_grpc_address) as theirs,
        httpx.Client(base_url=f"http://{transformer_http}") as rest,
    ):
        ways: dict[str, Callable[[], npt.NDArray[Any]]] = {
            "onnxruntime in process, finished tensors": _in_process(read, tensors),
            BASELINE: _through_triton(theirs, model_name, tensors),
            "transformer by gRPC, ids": _through_transformer(ours, model_name, user_id, item_ids),
            "transformer by REST V1 JSON, ids": _through_v1(rest, model_name, user_id, item_ids),
        }
        _check_agreement(ways)
        return _rows(_interleaved(ways, rounds, warm_up))


def _item_ids(store: Path, count: int) -> tuple[str, ...]:
    with LmdbStore.open(store, readonly=True) as opened:
        found = tuple(row.item_id for row, _ in zip(opened.items(), range(count), strict=False))
    if len(found) < count:
        raise BenchError(f"the store {store} has {len(found)} items; expected at least {count}; measure fewer")
    return found


def _tensors(bundle: Bundle, store: Path, request: RankRequest) -> Tensors:
    """The tensors that the transformer makes of the request, made by the same code."""
    caption = bundle.contract.caption
    tokenizer = None
    if caption is not None and bundle.tokenizer is not None:
        tokenizer = CaptionTokenizer.from_bytes(bundle.tokenizer, caption.tokenizer_sha256)
    with LmdbStore.open(store, readonly=True) as opened:
        connection = StoreConnection(lambda: opened, clock=time.monotonic, report=lambda _: None)
        builder = FeatureBuilder(bundle.contract, tokenizer, connection, cache_rows=len(request.item_ids))
        return builder.build(request).tensors


def _in_process(bundle: Bundle, tensors: Tensors) -> Callable[[], npt.NDArray[Any]]:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1  # as Triton's instance has
    session = onnxruntime.InferenceSession(bundle.onnx_path, options, providers=["CPUExecutionProvider"])
    return lambda: np.asarray(session.run(["score"], dict(tensors))[0])


def _through_triton(client: Any, model: str, tensors: Tensors) -> Callable[[], npt.NDArray[Any]]:
    types = {"float32": "FP32", "int64": "INT64"}

    def call() -> npt.NDArray[Any]:
        inputs = []
        for name, tensor in tensors.items():
            inputs.append(triton_grpc.InferInput(name, tensor.shape, types[tensor.dtype.name]))
            inputs[-1].set_data_from_numpy(tensor)
        return np.asarray(client.infer(model, inputs).as_numpy("score")).reshape(-1)

    return call


def _through_transformer(
    client: Any, model: str, user_id: str, item_ids: Sequence[str]
) -> Callable[[], npt.NDArray[Any]]:
    values = {
        "user_id": np.array([user_id.encode()], np.object_),
        "item_id": np.array([item_id.encode() for item_id in item_ids], np.object_),
    }

    def call() -> npt.NDArray[Any]:
        inputs = []
        for name, value in values.items():
            inputs.append(triton_grpc.InferInput(name, value.shape, "BYTES"))
            inputs[-1].set_data_from_numpy(value)
        return np.asarray(client.infer(model, inputs).as_numpy("score"))

    return call


def _through_v1(
    client: httpx.Client, model: str, user_id: str, item_ids: Sequence[str]
) -> Callable[[], npt.NDArray[Any]]:
    body = {"instances": [{"user_id": user_id, "candidates": [{"item_id": item_id} for item_id in item_ids]}]}
    position = {item_id: place for place, item_id in enumerate(item_ids)}

    def call() -> npt.NDArray[Any]:
        response = client.post(f"/v1/models/{model}:predict", json=body).raise_for_status()
        scores = np.empty(len(item_ids), np.float32)
        for entry in response.json()["predictions"][0]["ranking"]:
            scores[position[entry["item_id"]]] = entry["score"]
        return scores

    return call


def _check_agreement(ways: Mapping[str, Callable[[], npt.NDArray[Any]]]) -> None:
    expected = ways[BASELINE]()
    for way, call in ways.items():
        apart = float(np.abs(call() - expected).max())
        if apart > 1e-5:
            raise BenchError(f"{way}: scores are {apart:.2e} apart from Triton's; expected at most 1e-5")


def _interleaved(
    ways: Mapping[str, Callable[[], npt.NDArray[Any]]], rounds: int, warm_up: int
) -> dict[str, list[float]]:
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    for turn in range(warm_up + rounds):
        for way, call in ways.items():
            start = time.perf_counter()
            call()
            if turn >= warm_up:
                seconds[way].append(time.perf_counter() - start)
    return seconds


def _rows(seconds: Mapping[str, Sequence[float]]) -> list[RankingRow]:
    at = {way: np.percentile(np.array(values) * 1000, [50, 99]) for way, values in seconds.items()}
    base = at[BASELINE]
    return [
        RankingRow(way, float(p50), float(p99), float(p50 / base[0]), float(p99 / base[1]))
        for way, (p50, p99) in at.items()
    ]
