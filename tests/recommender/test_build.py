"""The contract decides a ranker's inputs; the seed its weights; the config is closed."""

import numpy as np
import pytest
import torch
from pydantic import TypeAdapter, ValidationError

from models.contract import (
    CaptionFeature,
    CategoricalFeature,
    Contract,
    DenseFeature,
    HashBuckets,
    HashEncoder,
    IdentityEncoder,
    MultiHashEncoder,
    QREncoder,
)
from models.export.onnx import random_inputs, torch_scores
from models.recommender.build import build_ranker
from models.recommender.config import DCNSettings, DLRMSettings, RankerConfig

ENCODERS = {
    "identity": IdentityEncoder(vocabulary_size=50),
    "hash": HashEncoder(buckets=40, seed=1, max_ngram=2),
    "multihash": MultiHashEncoder(buckets=40, seeds=(1, 2, 3)),
    "qr": QREncoder(vocabulary_size=50, divisor=7),
}


def contract(*, dense=True, categorical=True, encoder=None):
    number = DenseFeature(name="age", source="user", default=30.0)
    field = CategoricalFeature(name="item_id", source="item", encoding=HashBuckets(buckets=30))
    caption = CaptionFeature(tokenizer_sha256="0" * 64, max_tokens=5, encoder=encoder) if encoder else None
    return Contract(
        name="t",
        version=1,
        dense=(number,) if dense else (),
        categorical=(field, field.model_copy(update={"name": "user_id"})) if categorical else (),
        caption=caption,
    )


CONFIGS = {"dcn": DCNSettings(), "dlrm": DLRMSettings(architecture="dlrm")}
# Without a table there is nothing to multiply: DLRM refuses that, and so does DCN without a number (tests below).
FEEDABLE = [
    pytest.param(config, encoder, dense, categorical, id=f"{name}-{kind}-{dense:d}{categorical:d}")
    for name, config in CONFIGS.items()
    for kind, encoder in {"none": None, **ENCODERS}.items()
    for dense in (True, False)
    for categorical in (True, False)
    if categorical or encoder or (dense and name == "dcn")
]


@pytest.mark.parametrize(("config", "encoder", "dense", "categorical"), FEEDABLE)
def test_every_contract_gets_probabilities_for_its_own_tensors(config, encoder, dense, categorical):
    made = contract(dense=dense, categorical=categorical, encoder=encoder)
    scores = torch_scores(build_ranker(made, config), random_inputs(made, 6, seed=1))
    assert scores.shape == (6,)
    assert scores.dtype == np.float32
    assert ((scores > 0) & (scores < 1)).all()


def test_dlrm_without_any_vector_is_refused():
    with pytest.raises(ValueError, match="choose dcn"):
        build_ranker(contract(categorical=False), DLRMSettings(architecture="dlrm"))


def test_every_input_moves_the_score():
    made = contract(encoder=ENCODERS["qr"])
    model = build_ranker(made, DCNSettings(embedding={"init_std": 0.5}), seed=1)
    tensors = random_inputs(made, 20, seed=1)
    before = torch_scores(model, tensors)
    for name in tensors:
        changed = {**tensors, name: np.roll(tensors[name], 1, axis=0)}
        assert not np.allclose(torch_scores(model, changed), before)


def test_rows_are_scored_one_by_one():
    made = contract(encoder=ENCODERS["hash"])
    model = build_ranker(made, DCNSettings(), seed=1)
    tensors = random_inputs(made, 9, seed=2)
    alone = [torch_scores(model, {name: values[row : row + 1] for name, values in tensors.items()}) for row in range(9)]
    assert np.concatenate(alone) == pytest.approx(torch_scores(model, tensors), abs=1e-6)


def test_the_seed_decides_the_weights_and_the_global_generator_is_left_alone():
    made = contract(encoder=ENCODERS["hash"])
    state = torch.get_rng_state()
    first, again, other = (build_ranker(made, DCNSettings(), seed=seed).state_dict() for seed in (1, 1, 2))
    assert torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)


def test_scores_are_the_sigmoid_of_the_logits():
    made = contract(encoder=ENCODERS["hash"])
    model = build_ranker(made, DCNSettings()).eval()
    tensors = [torch.tensor(values) for values in random_inputs(made, 5, seed=1).values()]
    assert torch.equal(model(*tensors), torch.sigmoid(model.logits(*tensors)))


def test_a_missing_tensor_is_an_error():
    made = contract(encoder=ENCODERS["hash"])
    tensors = [torch.tensor(values) for values in random_inputs(made, 5, seed=1).values()]
    with pytest.raises(ValueError, match="zip"):
        build_ranker(made, DCNSettings())(*tensors[:2])


@pytest.mark.parametrize(
    "config",
    [
        {"architecture": "dcn", "crossing_layers": 3},
        {"architecture": "dcn", "bottom": [3]},
        {"architecture": "dlrm", "cross_layers": 3},
        {"architecture": "fm"},
        {"architecture": "dcn", "dropout": 1.0},
        {"architecture": "dcn", "embedding": {"size": 0}},
    ],
)
def test_the_config_is_closed_and_belongs_to_its_architecture(config):
    with pytest.raises(ValidationError):
        TypeAdapter(RankerConfig).validate_python(config)


def test_the_promised_defaults():
    settings = DCNSettings()
    assert (settings.cross_layers, settings.cross_rank, settings.deep, settings.dropout) == (2, None, (64, 32), 0.0)
    embedding = settings.embedding
    assert (embedding.size, embedding.caption_pooling, embedding.init_std) == (16, "mean", 0.01)
