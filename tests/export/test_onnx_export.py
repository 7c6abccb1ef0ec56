"""The ONNX file scores as PyTorch does, at every batch size, and says which contract it was made for."""

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from models.contract import (
    CaptionFeature,
    CategoricalFeature,
    Contract,
    DenseFeature,
    HashBuckets,
    HashEncoder,
    MultiHashEncoder,
)
from models.export.metadata import CONTRACT_DIGEST, CONTRACT_VERSION, OnnxMetadataError, read_metadata
from models.export.onnx import BATCH_SIZES, ExportError, check_parity, export_onnx
from models.recommender.build import build_ranker
from models.recommender.config import DCNSettings, DLRMSettings, EmbeddingSettings

WILD = EmbeddingSettings(size=4, init_std=1.0, caption_pooling="attention")
CASES = {
    "dcn, hash, attention": (DCNSettings(embedding=WILD, cross_rank=3), HashEncoder(buckets=60, seed=1, max_ngram=2)),
    "dlrm, multihash": (DLRMSettings(architecture="dlrm"), MultiHashEncoder(buckets=60, seeds=(1, 2))),
    "dcn, no caption": (DCNSettings(), None),
}


def contract(encoder):
    return Contract(
        name="t",
        version=3,
        dense=(DenseFeature(name="age", source="user", default=30.0),),
        categorical=(CategoricalFeature(name="item_id", source="item", encoding=HashBuckets(buckets=30)),),
        caption=CaptionFeature(tokenizer_sha256="0" * 64, max_tokens=5, encoder=encoder) if encoder else None,
    )


@pytest.fixture(scope="module", params=CASES.values(), ids=CASES)
def exported(request, tmp_path_factory):
    config, encoder = request.param
    made = contract(encoder)
    model = build_ranker(made, config, seed=2)
    path = tmp_path_factory.mktemp("export") / "model.onnx"
    export_onnx(model, made, path)
    return model, made, path


def test_scores_agree_with_pytorch_at_every_batch_size(exported):
    model, made, path = exported
    assert {1, 2, 7, 64, 1000, 4096} <= set(BATCH_SIZES)
    assert check_parity(model, path, made) <= 1e-5


def test_inputs_and_output_are_the_contracts_with_a_free_batch_axis(exported):
    _, made, path = exported
    session = onnxruntime.InferenceSession(path)
    kinds = {"float32": "tensor(float)", "int64": "tensor(int64)"}
    for value, tensor in zip(
        [*session.get_inputs(), *session.get_outputs()], [*made.tensors, made.output], strict=True
    ):
        assert (value.name, value.type) == (tensor.name, kinds[tensor.dtype])
        assert value.shape == ["rows", *tensor.shape[1:]]


def test_the_metadata_names_the_contract_to_every_reader(exported):
    _, made, path = exported
    expected = {CONTRACT_DIGEST: made.digest, CONTRACT_VERSION: "3"}
    assert read_metadata(path.read_bytes()) == expected
    assert onnxruntime.InferenceSession(path).get_modelmeta().custom_metadata_map == expected
    assert {entry.key: entry.value for entry in onnx.load(path).metadata_props} == expected


def test_exporting_leaves_the_models_mode_as_it_was(tmp_path):
    made = contract(None)
    model = build_ranker(made, DCNSettings()).train()
    export_onnx(model, made, tmp_path / "model.onnx")
    assert model.training


def test_another_models_file_fails_parity_naming_the_worst_row(exported):
    model, made, path = exported
    other = build_ranker(made, DCNSettings(embedding=EmbeddingSettings(init_std=1.0)), seed=9)
    with pytest.raises(ExportError, match=r"row \d+ of a batch of 1 scores .* apart; expected at most 1e-05"):
        check_parity(other, path, made)
    del model


def test_a_score_that_is_no_number_fails_parity(exported):
    model, made, path = exported
    broken = build_ranker(made, DCNSettings(), seed=1)
    with torch.no_grad():
        broken.interaction.out.bias.fill_(np.nan)
    with pytest.raises(ExportError, match="nan"):
        check_parity(broken, path, made)
    del model


def test_a_file_without_metadata_has_none():
    graph = onnx.helper.make_graph([], "empty", [], [])
    assert read_metadata(onnx.helper.make_model(graph).SerializeToString()) == {}


@pytest.mark.parametrize(
    "data",
    [b"no model", b"\xff" * 40, b"\x72\x05ab", b"\x80"],
    ids=["text", "long number", "truncated", "half a number"],
)
def test_bytes_that_are_no_model_are_refused(data):
    with pytest.raises(OnnxMetadataError):
        read_metadata(data)


def test_a_truncated_file_is_refused(exported):
    data = exported[2].read_bytes()
    with pytest.raises(OnnxMetadataError, match="truncated"):
        read_metadata(data[: len(data) - 7])
