"""A small ranker with random weights, placed on a real Triton."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from models.bundle import Bundle, Provenance, write_bundle
from models.contract import (
    CaptionFeature,
    CategoricalFeature,
    Contract,
    DenseFeature,
    HashBuckets,
    HashEncoder,
    Vocabulary,
)
from models.export.onnx import export_onnx
from models.recommender.build import Ranker, build_ranker
from models.recommender.config import DCNSettings, EmbeddingSettings
from models.triton.config import TritonSettings
from models.triton.repository import place_model
from serving.ranker.command import TritonPorts
from serving.stack.triton_server import running_triton

INFERENCE_KEY = "opens inference over HTTP"
TOKENIZER = b'{"a tokenizer": "of the test"}'


@dataclass(frozen=True)
class Placed:
    ports: TritonPorts
    inference_key: str
    repository: Path
    model: Ranker
    bundle: Bundle
    log: Path


def small_contract(version: int = 1) -> Contract:
    return Contract(
        name="small",
        version=version,
        dense=(DenseFeature(name="age", source="user", default=30.0),),
        categorical=(
            CategoricalFeature(name="user_id", source="user", encoding=HashBuckets(buckets=100)),
            CategoricalFeature(name="gender", source="user", encoding=Vocabulary(values=("F", "M"))),
        ),
        caption=CaptionFeature(
            tokenizer_sha256=hashlib.sha256(TOKENIZER).hexdigest(),
            max_tokens=8,
            encoder=HashEncoder(buckets=200, seed=1, max_ngram=2),
        ),
    )


def small_bundle(folder: Path, *, version: int = 1, seed: int = 5) -> tuple[Ranker, Bundle]:
    contract = small_contract(version)
    model = build_ranker(contract, DCNSettings(embedding=EmbeddingSettings(size=4, init_std=0.5)), seed=seed)
    onnx_path = folder / "exported" / "model.onnx"
    export_onnx(model, contract, onnx_path)
    bundle = write_bundle(
        folder / "bundle",
        onnx_path=onnx_path,
        contract=contract,
        tokenizer=TOKENIZER,
        metrics={"auc": 0.5},
        provenance=Provenance(
            name="ranker", created="2026-11-22T20:00:00+00:00", git_revision="unknown", data_digest="sha256:0"
        ),
    )
    return model, bundle


@pytest.fixture(scope="session")
def bundled(tmp_path_factory: pytest.TempPathFactory) -> tuple[Ranker, Bundle]:
    return small_bundle(tmp_path_factory.mktemp("bundled"))


@pytest.fixture(scope="session")
def triton(bundled: tuple[Ranker, Bundle], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Placed]:
    model, bundle = bundled
    folder = tmp_path_factory.mktemp("triton")
    settings = TritonSettings(max_queue_delay_us=2000)
    place_model(folder / "repository", "ranker", bundle, platform="python", settings=settings)
    with running_triton(folder / "repository", folder / "work", inference_key=INFERENCE_KEY) as ports:
        yield Placed(ports, INFERENCE_KEY, folder / "repository", model, bundle, folder / "work" / "triton.log")
