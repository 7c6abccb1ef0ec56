"""Small real bundles, and an S3 server of the test process's own."""

import hashlib
import threading

import onnx
import pytest
from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server

from models.bundle import Provenance, write_bundle
from models.contract import CaptionFeature, CategoricalFeature, Contract, HashBuckets, HashEncoder
from models.export.metadata import CONTRACT_DIGEST

TOKENIZER = b'{"version": "1.0"}'


def make_bundle(folder, *, name="ranker", created="2026-11-22T20:00:00+00:00", metrics=None, weight=b""):
    """A bundle whose model.onnx carries `weight`, so that two of them differ in every file but the contract."""
    caption = CaptionFeature(
        tokenizer_sha256=hashlib.sha256(TOKENIZER).hexdigest(),
        max_tokens=4,
        encoder=HashEncoder(buckets=20, seed=0, max_ngram=1),
    )
    field = CategoricalFeature(name="item_id", source="item", encoding=HashBuckets(buckets=30))
    contract = Contract(name="t", version=1, categorical=(field,), caption=caption)
    model = onnx.helper.make_model(onnx.helper.make_graph([], "empty", [], []), doc_string=weight.hex())
    onnx.helper.set_model_props(model, {CONTRACT_DIGEST: contract.digest})
    folder.parent.mkdir(parents=True, exist_ok=True)
    exported = folder.with_suffix(".onnx")
    exported.write_bytes(model.SerializeToString())
    return write_bundle(
        folder,
        onnx_path=exported,
        contract=contract,
        tokenizer=TOKENIZER,
        metrics=metrics or {"auc": 0.75},
        provenance=Provenance(name=name, created=created, git_revision="0123abc", data_digest="sha256:1"),
    )


@pytest.fixture
def new_bundle():
    """Writes a bundle to the folder that it is given."""
    return make_bundle


@pytest.fixture
def bundle(tmp_path):
    return make_bundle(tmp_path / "trained" / "bundle")


@pytest.fixture(scope="session")
def s3_server():
    """The URL of moto's S3 server on loopback.

    It serves one request at a time: moto looks for the object and writes it in two steps, and If-None-Match is one step
    in S3.
    """
    server = make_server("localhost", 0, DomainDispatcherApplication(create_backend_app), threaded=False)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://localhost:{server.server_port}"
    server.shutdown()
    thread.join(10)
    server.server_close()


@pytest.fixture
def s3(s3_server, monkeypatch, tmp_path):
    """A fresh bucket's URI; the environment is what a pod has."""
    import s3fs

    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3_server)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "somebody")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "a password")
    bucket = f"models-{hashlib.sha256(str(tmp_path).encode()).hexdigest()[:12]}"
    s3fs.S3FileSystem(skip_instance_cache=True).mkdir(bucket)
    return f"s3://{bucket}/models"


@pytest.fixture(params=["folder", "s3"])
def store_uri(request, tmp_path):
    """The same promises hold on a file system and on S3."""
    return str(tmp_path / "store") if request.param == "folder" else request.getfixturevalue("s3")
