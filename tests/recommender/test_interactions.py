"""The networks against their formulas in numpy, with fixed weights."""

import numpy as np
import pytest
import torch

from models.recommender.dcn import DCN, CrossLayer
from models.recommender.dlrm import DLRM, pairwise_dots
from models.recommender.embeddings import CaptionEmbedding, CategoricalEmbeddings
from models.recommender.mlp import mlp


@pytest.fixture(autouse=True)
def fixed_weights():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(11)
        yield


def array(tensor):
    return tensor.detach().numpy().astype(np.float64)


def draw(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def relu_stack(x, layers):
    for layer in layers:
        x = np.maximum(x @ array(layer.weight).T + array(layer.bias), 0)
    return x


def linear_layers(network):
    return [layer for layer in network if isinstance(layer, torch.nn.Linear)]


def test_a_cross_layer_is_x0_times_wx_plus_b_plus_x():
    layer = CrossLayer(5)
    x0, x = draw(7, 5), draw(7, 5, seed=1)
    expected = x0 * (x @ array(layer.linear.weight).T + array(layer.linear.bias)) + x
    assert array(layer(torch.tensor(x0), torch.tensor(x))) == pytest.approx(expected, abs=1e-6)


def test_a_cross_layer_of_low_rank_is_x0_times_uvx_plus_b_plus_x():
    layer = CrossLayer(5, rank=2)
    x0, x = draw(7, 5), draw(7, 5, seed=1)
    matrix = array(layer.linear.weight) @ array(layer.down.weight)  # U V, [5, 5] of rank 2
    assert np.linalg.matrix_rank(matrix) == 2
    expected = x0 * (x @ matrix.T + array(layer.linear.bias)) + x
    assert array(layer(torch.tensor(x0), torch.tensor(x))) == pytest.approx(expected, abs=1e-6)


def test_dcn_adds_the_crosses_and_the_deep_network_side_by_side():
    model = DCN(size=6, cross_layers=2, cross_rank=None, deep=[4, 3], dropout=0.5).eval()
    x0 = draw(9, 6).astype(np.float64)
    x = x0
    for layer in model.crosses:
        x = x0 * (x @ array(layer.linear.weight).T + array(layer.linear.bias)) + x
    deep = relu_stack(x0, linear_layers(model.deep))
    expected = np.concatenate([x, deep], axis=1) @ array(model.out.weight)[0] + array(model.out.bias)
    assert array(model(torch.tensor(x0, dtype=torch.float32))) == pytest.approx(expected, abs=1e-5)


def test_dcn_without_a_deep_network_is_the_crosses_alone():
    model = DCN(size=3, cross_layers=1, cross_rank=None, deep=[], dropout=0.0)
    x = draw(4, 3)
    crossed = array(model.crosses[0](torch.tensor(x), torch.tensor(x)))
    assert array(model(torch.tensor(x))) == pytest.approx(crossed @ array(model.out.weight)[0] + array(model.out.bias))


@pytest.mark.parametrize("count", [1, 2, 5])
def test_pairwise_dots_are_those_of_every_pair_once(count):
    vectors = draw(3, count, 4)
    expected = [[v[i] @ v[j] for i in range(count) for j in range(i)] for v in vectors]
    found = pairwise_dots(torch.tensor(vectors))
    assert found.shape == (3, count * (count - 1) // 2)
    assert array(found) == pytest.approx(np.array(expected, dtype=np.float64).reshape(found.shape), abs=1e-5)


def test_dlrm_multiplies_the_dense_vector_with_the_fields():
    model = DLRM(fields=3, size=4, dense=2, bottom=[5], top=[6], dropout=0.5).eval()
    vectors, dense = draw(8, 3, 4), draw(8, 2, seed=1)
    bottom = relu_stack(dense.astype(np.float64), linear_layers(model.bottom))
    all_vectors = np.concatenate([bottom[:, None], vectors], axis=1)
    dots = np.stack([(all_vectors[:, i] * all_vectors[:, j]).sum(1) for i in range(4) for j in range(i)], axis=1)
    top = relu_stack(np.concatenate([bottom, dots], axis=1), linear_layers(model.top))
    expected = top @ array(model.out.weight)[0] + array(model.out.bias)
    assert array(model(torch.tensor(vectors), torch.tensor(dense))) == pytest.approx(expected, abs=1e-5)


def test_dlrm_without_dense_features_keeps_the_vectors_themselves():
    model = DLRM(fields=2, size=3, dense=0, bottom=[5], top=[], dropout=0.0)
    vectors = draw(4, 2, 3)
    joined = np.concatenate([vectors.reshape(4, 6), (vectors[:, 0] * vectors[:, 1]).sum(1)[:, None]], axis=1)
    expected = joined @ array(model.out.weight)[0] + array(model.out.bias)
    assert array(model(torch.tensor(vectors), None)) == pytest.approx(expected, abs=1e-5)


def test_mlp_of_one_size_changes_nothing():
    x = torch.tensor(draw(3, 4))
    assert torch.equal(mlp([4], 0.5)(x), x)


def test_categorical_embeddings_look_up_one_table_per_column():
    module = CategoricalEmbeddings([10, 20], size=3, init_std=1.0)
    ids = np.array([[0, 19], [9, 1]])
    expected = np.stack([array(module.tables[column].weight)[ids[:, column]] for column in range(2)], axis=1)
    assert np.array_equal(array(module(torch.tensor(ids))), expected)


def captions(parts):
    ids = np.array([[5, 2, 7, 0], [3, 0, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0]])
    return ids if parts == 1 else np.stack([np.where(ids, (ids + part) % 8 + 1, 0) for part in range(parts)], axis=2)


@pytest.mark.parametrize("parts", [1, 2, 3])
@pytest.mark.parametrize("pooling", ["mean", "attention"])
def test_a_caption_is_the_weighted_mean_of_its_tokens_parts_added(parts, pooling):
    module = CaptionEmbedding([10] * parts, size=3, init_std=1.0, pooling=pooling)
    if module.attention is not None:
        torch.nn.init.normal_(module.attention.weight)
    ids = captions(parts)
    found = array(module(torch.tensor(ids)))
    shaped = ids.reshape(4, 4, parts)
    for row in range(3):
        length = int((shaped[row, :, 0] != 0).sum())
        tokens = sum(array(module.tables[part].weight)[shaped[row, :length, part]] for part in range(parts))
        logits = np.zeros(length) if module.attention is None else tokens @ array(module.attention.weight)[0]
        weights = np.exp(logits) / np.exp(logits).sum()
        assert found[row] == pytest.approx(weights @ tokens, abs=1e-5)
    assert np.array_equal(found[3], np.zeros(3))


def test_attention_starts_as_the_mean():
    attention = CaptionEmbedding([10], size=3, init_std=1.0, pooling="attention")
    mean = CaptionEmbedding([10], size=3, init_std=1.0, pooling="mean")
    mean.tables.load_state_dict(attention.tables.state_dict())
    ids = torch.tensor(captions(1))
    assert array(attention(ids)) == pytest.approx(array(mean(ids)), abs=1e-6)


def test_attention_of_huge_logits_stays_finite():
    module = CaptionEmbedding([10], size=3, init_std=1.0, pooling="attention")
    torch.nn.init.constant_(module.attention.weight, 1e4)
    assert torch.isfinite(module(torch.tensor(captions(1)))).all()


def test_padding_takes_no_part_wherever_it_stands():
    module = CaptionEmbedding([10], size=3, init_std=1.0, pooling="mean")
    spread, packed = torch.tensor([[0, 4, 0, 0, 6]]), torch.tensor([[4, 6, 0, 0, 0]])
    assert array(module(spread)) == pytest.approx(array(module(packed)), abs=1e-6)


def test_the_no_caption_vector_is_that_of_bucket_one():
    module = CaptionEmbedding([10, 10], size=3, init_std=1.0, pooling="mean")
    ids = torch.tensor([[[1, 1], [0, 0]]])
    assert array(module.no_caption()) == pytest.approx(array(module(ids))[0], abs=1e-6)
