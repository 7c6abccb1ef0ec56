"""A small ranker on a real Triton, a store of items, and the real transformer in front, as processes.

The transformer is never imported whole here: kserve and tritonclient cannot live in one process.
"""

import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper
from tokenizers import Tokenizer, decoders, models, normalizers, trainers

from models.bundle import Bundle, Provenance, write_bundle
from models.contract import (
    CaptionFeature,
    CaptionTokenizer,
    CategoricalFeature,
    Contract,
    DenseFeature,
    HashBuckets,
    HashEncoder,
    IntegerRange,
    Vocabulary,
)
from models.experiments.assignment import Arm, Assignment, AssignmentBook
from models.export.metadata import CONTRACT_DIGEST, CONTRACT_VERSION
from models.export.onnx import export_onnx
from models.items import ItemRow, StoredCaption, UserRow
from models.recommender.build import Ranker, build_ranker
from models.recommender.config import DCNSettings, EmbeddingSettings
from models.triton.config import TritonSettings
from models.triton.repository import place_model
from serving.items.lmdb_store import LmdbStore
from serving.ranker.command import TritonPorts
from serving.stack.triton_server import free_port, running_triton

OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))
WORDS = ["a", "red", "car", "two", "small", "dogs", "play", "in", "the", "snow", "green", "bottle", "night", "street"]


@pytest.fixture(scope="session")
def tokenizer_json() -> bytes:
    """LLaMA-style BPE with byte fallback."""
    tokenizer = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Fuse()])
    special = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    trainer = trainers.BpeTrainer(vocab_size=320, special_tokens=special, show_progress=False)
    tokenizer.train_from_iterator(WORDS, trainer)
    return tokenizer.to_str().encode()


@pytest.fixture(scope="session")
def tokenizer(tokenizer_json: bytes) -> CaptionTokenizer:
    return CaptionTokenizer.from_bytes(tokenizer_json)


@pytest.fixture(scope="session")
def contract(tokenizer: CaptionTokenizer) -> Contract:
    """Features of every kind and source."""
    return Contract(
        name="films",
        version=2,
        dense=(
            DenseFeature(name="popularity", source="item", default=0.0, transform="log1p", mean=2.0, std=1.5),
            DenseFeature(name="age", source="user", default=30.0, mean=33.0, std=11.0),
        ),
        categorical=(
            CategoricalFeature(name="user_id", source="user", encoding=HashBuckets(buckets=500, seed=1)),
            CategoricalFeature(name="gender", source="user", encoding=Vocabulary(values=("F", "M"))),
            CategoricalFeature(name="item_id", source="item", encoding=HashBuckets(buckets=900, seed=2)),
            CategoricalFeature(name="hour", source="context", encoding=IntegerRange(low=0, high=23)),
            CategoricalFeature(name="weekday", source="context", encoding=IntegerRange(low=0, high=6)),
        ),
        caption=CaptionFeature(
            tokenizer_sha256=tokenizer.sha256, max_tokens=12, encoder=HashEncoder(buckets=400, seed=3, max_ngram=2)
        ),
    )


@dataclass(frozen=True)
class Trained:
    """A ranker with random weights that differ enough to see every feature, and its bundle."""

    model: Ranker
    bundle: Bundle


def bundled(folder: Path, onnx_path: Path, contract: Contract, tokenizer: bytes | None) -> Bundle:
    provenance = Provenance(
        name="ranker", created="2026-11-22T20:00:00+00:00", git_revision="unknown", data_digest="sha256:0"
    )
    return write_bundle(
        folder / "bundle",
        onnx_path=onnx_path,
        contract=contract,
        tokenizer=tokenizer,
        metrics={"auc": 0.5},
        provenance=provenance,
    )


def summing_onnx(path: Path, contract: Contract) -> Path:
    """A ranker that needs no training: the logistic of a weighted sum of its dense and categorical inputs."""
    dense, categorical = len(contract.dense), len(contract.categorical)
    weights = np.linspace(-0.02, 0.03, categorical, dtype=np.float32).reshape(-1, 1)
    nodes = [
        helper.make_node("Cast", ["categorical"], ["numbers"], to=TensorProto.FLOAT),
        helper.make_node("MatMul", ["numbers", "weights"], ["a"]),
        helper.make_node("MatMul", ["dense", "scales"], ["b"]),
        helper.make_node("Add", ["a", "b"], ["c"]),
        helper.make_node("Sigmoid", ["c"], ["d"]),
        helper.make_node("Squeeze", ["d", "last"], ["score"]),
    ]
    constants = [
        numpy_helper.from_array(weights, "weights"),
        numpy_helper.from_array(np.full((dense, 1), 0.1, np.float32), "scales"),
        numpy_helper.from_array(np.array([1], np.int64), "last"),
    ]
    inputs = [
        helper.make_tensor_value_info("dense", TensorProto.FLOAT, ["rows", dense]),
        helper.make_tensor_value_info("categorical", TensorProto.INT64, ["rows", categorical]),
    ]
    outputs = [helper.make_tensor_value_info("score", TensorProto.FLOAT, ["rows"])]
    graph = helper.make_graph(nodes, "sum", inputs, outputs, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    digest = {CONTRACT_DIGEST: contract.digest, CONTRACT_VERSION: str(contract.version)}
    helper.set_model_props(model, digest)
    path.write_bytes(model.SerializeToString())
    return path


@pytest.fixture(scope="session")
def with_captions(tmp_path_factory: pytest.TempPathFactory, contract: Contract, tokenizer_json: bytes) -> Trained:
    folder = tmp_path_factory.mktemp("with")
    model = build_ranker(contract, DCNSettings(embedding=EmbeddingSettings(size=4, init_std=0.7)), seed=5)
    export_onnx(model, contract, folder / "exported.onnx")
    return Trained(model, bundled(folder, folder / "exported.onnx", contract, tokenizer_json))


@pytest.fixture(scope="session")
def ids_only(tmp_path_factory: pytest.TempPathFactory, contract: Contract) -> Bundle:
    """The ablation without captions, made without PyTorch's slow exporter."""
    folder, ablation = tmp_path_factory.mktemp("ids"), contract.without_caption()
    return bundled(folder, summing_onnx(folder / "sum.onnx", ablation), ablation, None)


def catalogue(tokenizer: CaptionTokenizer, count: int = 600) -> list[ItemRow]:
    """Items "0".. with captions; every seventh has none, "13" was tokenized by somebody else."""
    draw = np.random.default_rng(7)
    texts = [" ".join(draw.choice(WORDS, size=int(draw.integers(2, 9)))) for _ in range(count)]
    tokens = tokenizer.encode(texts)
    rows = []
    for i, (text, ids) in enumerate(zip(texts, tokens, strict=True)):
        caption = StoredCaption(text, ids, tokenizer.sha256, "tiny@1", "Describe the picture.")
        if i == 13:
            caption = StoredCaption(text, np.array([1, 2, 3], np.int32), "b" * 64, "tiny@1", "Describe the picture.")
        rows.append(ItemRow(str(i), None if i % 7 == 0 else caption, {"popularity": float(i % 50)}))
    return rows


USERS = [UserRow("196", {"gender": "M", "age": 49, "occupation": "writer"}), UserRow("u2", {"gender": "F"})]


@pytest.fixture(scope="session")
def rows(tokenizer: CaptionTokenizer) -> list[ItemRow]:
    return catalogue(tokenizer)


def fill(folder: Path, rows: Sequence[ItemRow]) -> Path:
    with LmdbStore.open(folder) as store:
        store.put_many(rows)
        store.put_users(USERS)
    return folder


@pytest.fixture(scope="session")
def narrow(tmp_path_factory: pytest.TempPathFactory, contract: Contract) -> Bundle:
    """A ranker of a contract that knows less than `contract`, and takes the hour as a word."""
    folder = tmp_path_factory.mktemp("narrow")
    hour = CategoricalFeature(name="hour", source="context", encoding=Vocabulary(values=("day", "night")))
    ids = tuple(feature for feature in contract.categorical if feature.name.endswith("_id"))
    smaller = Contract(name="films", version=3, dense=contract.dense[:1], categorical=(*ids, hour), caption=None)
    return bundled(folder, summing_onnx(folder / "sum.onnx", smaller), smaller, None)


@pytest.fixture(scope="session")
def repository(
    tmp_path_factory: pytest.TempPathFactory, with_captions: Trained, ids_only: Bundle, narrow: Bundle
) -> Path:
    """A Triton repository with all models."""
    folder = tmp_path_factory.mktemp("repository")
    settings = TritonSettings(max_queue_delay_us=100)
    place_model(folder, "ranker", with_captions.bundle, platform="python", settings=settings)
    place_model(folder, "ranker-ids", ids_only, platform="python", settings=settings)
    place_model(folder, "ranker-narrow", narrow, platform="python", settings=settings)
    return folder


@pytest.fixture(scope="session")
def triton(tmp_path_factory: pytest.TempPathFactory, repository: Path) -> Iterator[TritonPorts]:
    with running_triton(repository, tmp_path_factory.mktemp("triton-work")) as ports:
        yield ports


@dataclass(frozen=True)
class Running:
    """A transformer that runs."""

    http_port: int
    grpc_port: int
    process: subprocess.Popen[bytes]
    log: Path
    store: Path | str
    missing_file: Path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.http_port}"

    def ready(self) -> bool:
        return httpx.get(f"{self.url}/v2/health/ready").status_code == 200


def wait_until(truth: Callable[[], bool], seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not truth():
        assert time.monotonic() < deadline, "it did not come true in time"
        time.sleep(0.05)


@contextmanager
def running_transformer(
    folder: Path, bundle: Path, store: Path | str, triton_port: int, *more: str, last: Sequence[str] = ()
) -> Iterator[Running]:
    """The transformer as a process of its own; ended by SIGTERM."""
    http_port, grpc_port = free_port(), free_port()
    log, missing = folder / "transformer.log", folder / "missing.jsonl"
    arguments = {
        "model_name": "ranker",
        "bundle": bundle,
        "store": store,
        "missing_file": missing,
        "predictor_host": f"127.0.0.1:{triton_port}",
        "predictor_protocol": "grpc-v2",
        "host": "127.0.0.1",
        "http_port": http_port,
        "grpc_port": grpc_port,
        "handshake_seconds": 0.3,
        "retry_after_seconds": 1.5,
    }
    if isinstance(store, str):  # a server keeps the list of missing captions itself
        del arguments["missing_file"]
    argv = [sys.executable, "-m", "serving.transformer.run", *more]
    argv += [part for name, value in arguments.items() for part in (f"--{name}", str(value))]
    argv += last  # argparse takes the last of two
    with log.open("wb") as output:
        process = subprocess.Popen(argv, stdout=output, stderr=subprocess.STDOUT, env={**os.environ})
    running = Running(http_port, grpc_port, process, log, store, missing)
    try:
        wait_until(lambda: _answers(running), 60.0)
        yield running
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _answers(running: Running) -> bool:
    if running.process.poll() is not None:
        raise AssertionError(f"the transformer ended: {running.log.read_text()[-3000:]}")
    try:
        return running.ready()
    except httpx.TransportError:
        return False


@pytest.fixture(scope="session")
def transformer(
    tmp_path_factory: pytest.TempPathFactory,
    triton: TritonPorts,
    with_captions: Trained,
    ids_only: Bundle,
    rows: list[ItemRow],
) -> Iterator[Running]:
    """The transformer that most tests share; its store and its Triton are whole."""
    folder = tmp_path_factory.mktemp("transformer")
    store = fill(folder / "store", rows)
    also = f"ranker-ids={ids_only.path}"
    with running_transformer(folder, with_captions.bundle.path, store, triton.grpc, "--also", also) as running:
        yield running


@dataclass(frozen=True)
class Stack:
    """What tests with processes of their own need; test modules cannot import this file."""

    fill: Callable[[Path, Sequence[ItemRow]], Path] = fill
    running_transformer: Callable[..., AbstractContextManager[Running]] = running_transformer
    bundled: Callable[[Path, Path, Contract, bytes | None], Bundle] = bundled
    summing_onnx: Callable[[Path, Contract], Path] = summing_onnx


@dataclass(frozen=True)
class Book:
    """The document of assignments in a file, and assignments to put there."""

    path: Path

    def write(self, *assignments: Assignment) -> None:
        self.write_text(AssignmentBook(assignments=assignments).to_json())

    def write_text(self, text: str) -> None:
        new = self.path.with_name("new")
        new.write_text(text)
        new.replace(self.path)

    def arm(self, bundle: Bundle, model: str, port: int, name: str = "candidate") -> Arm:
        return Arm(
            name=name,
            predictor_host=f"127.0.0.1:{port}",
            model=model,
            bundle=str(bundle.path),
            bundle_id=bundle.id,
            contract_digest=bundle.contract.digest,
        )

    def assignment(self, *arms: Arm, revision: int = 1, share: int = 2500, **more: Any) -> Assignment:
        fixed = {"experiment": "captions", "uid": "uid-1", "model": "ranker", "salt": "grains of salt", "shadow": 0}
        return Assignment(**{**fixed, **more}, revision=revision, arms=arms, share=share)


@pytest.fixture(scope="session")
def book_at() -> Callable[[Path], Book]:
    return Book


def metric_of(running: Running, line: str) -> float:
    """The value of a sample of /metrics, given as it is written there; 0 where it is not."""
    with OPENER.open(f"{running.url}/metrics", timeout=20) as answer:  # asked often: httpx.get reads the CAs each time
        text = answer.read().decode()
    for each in text.splitlines():
        if each.startswith(f"{line} "):
            return float(each.rsplit(" ", 1)[1])
    return 0.0


@pytest.fixture(scope="session")
def metric() -> Callable[[Running, str], float]:
    return metric_of


@pytest.fixture(scope="session")
def stack() -> Stack:
    return Stack()


@pytest.fixture(scope="session")
def until() -> Callable[..., None]:
    return wait_until
