"""Small real bundles, and the stores that hold them."""

import hashlib

import onnx
import pytest

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


@pytest.fixture
def s3(s3_files, tmp_path):
    """A fresh bucket's URI."""
    bucket = f"models-{hashlib.sha256(str(tmp_path).encode()).hexdigest()[:12]}"
    s3_files.mkdir(bucket)
    return f"s3://{bucket}/models"


@pytest.fixture(params=["folder", "s3"])
def store_uri(request, tmp_path):
    """The same promises hold on a file system and on S3."""
    return str(tmp_path / "store") if request.param == "folder" else request.getfixturevalue("s3")
