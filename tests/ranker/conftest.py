"""A bundle with random weights, and the ranker's container command as a process."""

import hashlib
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from models.bundle import Bundle, Provenance, write_bundle
from models.contract import CaptionFeature, CategoricalFeature, Contract, HashBuckets, HashEncoder
from models.export.onnx import export_onnx
from models.recommender.build import build_ranker
from models.recommender.config import DCNSettings, EmbeddingSettings
from serving.ranker.command import TritonPorts
from serving.stack.triton_server import free_port, is_ready

TOKENIZER = b'{"a tokenizer": "of the test"}'


@dataclass(frozen=True)
class Running:
    process: subprocess.Popen[bytes]
    ports: TritonPorts
    log: Path


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    folder = tmp_path_factory.mktemp("ranker-bundle")
    contract = Contract(
        name="container",
        version=1,
        categorical=(CategoricalFeature(name="user_id", source="user", encoding=HashBuckets(buckets=50)),),
        caption=CaptionFeature(
            tokenizer_sha256=hashlib.sha256(TOKENIZER).hexdigest(),
            max_tokens=4,
            encoder=HashEncoder(buckets=100, seed=1, max_ngram=1),
        ),
    )
    model = build_ranker(contract, DCNSettings(embedding=EmbeddingSettings(size=4, init_std=0.5)), seed=1)
    export_onnx(model, contract, folder / "model.onnx")
    return write_bundle(
        folder / "bundle",
        onnx_path=folder / "model.onnx",
        contract=contract,
        tokenizer=TOKENIZER,
        metrics={"auc": 0.5},
        provenance=Provenance(
            name="ranker", created="2026-11-22T20:00:00+00:00", git_revision="unknown", data_digest="sha256:0"
        ),
    )


def _argv(ports: TritonPorts, work: Path, *arguments: str) -> list[str]:
    return [
        *(sys.executable, "-m", "serving.ranker.run", *arguments),
        *("--host=127.0.0.1", f"--grpc-port={ports.grpc}", f"--http-port={ports.http}"),
        *(f"--metrics-port={ports.metrics}", f"--work-dir={work}"),
    ]


@pytest.fixture(scope="session")
def ranker_argv() -> Callable[..., list[str]]:
    """(ports, working folder, *arguments) -> the container's command line, on loopback."""
    return _argv


@pytest.fixture(scope="session")
def running_ranker() -> Callable[..., AbstractContextManager[Running]]:
    """(folder, *arguments) -> the container's process for the time of a `with` block."""
    return _running


@contextmanager
def _running(folder: Path, *arguments: str) -> Iterator[Running]:
    """The container's process on free ports, once it is ready; killed at the end if a test has not ended it."""
    ports = TritonPorts(free_port(), free_port(), free_port())
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / "ranker.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            _argv(ports, folder / "work", *arguments), stdout=output, stderr=output, env={**os.environ}
        )
    try:
        deadline = time.monotonic() + 60
        while not is_ready(ports.http):
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.1)
        yield Running(process, ports, log)
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
