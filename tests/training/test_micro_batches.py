"""A batch in parts: the gradients are those of the whole batch, whoever computes which part."""

import pytest
import torch

from models.recommender.build import build_ranker
from training.distributed import ALONE, InParts, Leader, RankError, RankLostError, agree
from training.loop import fit
from training.rows import encode_split
from training.steps import Batch, DeviceRows, Shuffle, generator_state, set_generator_state, whole_batch
from training.variant import hidden_columns, split_contract, train


@pytest.fixture(scope="module")
def parts(recipe, synthetic, within, captions, tokenizer):
    contract = split_contract(recipe, synthetic.dataset, within, tokenizer)
    return contract, encode_split(synthetic.dataset, within, contract, captions)


@pytest.fixture
def model(recipe, parts):
    ranker = recipe.ranker.model_copy(update={"dropout": 0.5})
    return build_ranker(parts[0], ranker, seed=1).train()


@pytest.fixture(scope="module")
def batch(recipe, parts):
    contract, encoded = parts
    rows = DeviceRows.of(encoded.train, torch.device("cpu"))
    return rows, next(Shuffle(rows, 101, hidden_columns(recipe, contract), 1, 0).batches(0))


def gradients(model, backward, rows, batch):
    """The gradients, the loss and the generator's state afterwards, from one fixed state before."""
    model.zero_grad()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        loss, _ = backward(model, rows, batch, False)
        after = generator_state(torch.device("cpu"))
    return [each.grad.clone() for each in model.parameters()], loss, after


@pytest.mark.parametrize("count", [2, 3, 7, 200])
def test_the_parts_gradients_and_loss_are_the_whole_batchs_dropout_and_hidden_rows_too(model, batch, count):
    rows, whole = batch
    assert any(mask.any() for _, mask in whole.hidden)
    expected, loss, after = gradients(model, whole_batch, rows, whole)
    found, summed, drawn = gradients(model, InParts(ALONE, count), rows, whole)
    assert summed == pytest.approx(float(loss), abs=1e-6)
    for one, other in zip(expected, found, strict=True):
        assert torch.allclose(one, other, rtol=1e-5, atol=1e-7)
    assert torch.equal(after, drawn)  # so that the next batch's dropout is the same as well


def test_the_models_own_dropout_is_back_after_a_step(model, batch):
    before = [type(module) for module in model.modules()]
    InParts(ALONE, 2)(model, *batch, False)
    assert [type(module) for module in model.modules()] == before
    assert torch.nn.Dropout in before


class Half:
    """One of two processes that takes what the other one computed."""

    world = 2

    def __init__(self, rank, others=None):
        self.rank, self.others, self.mine = rank, others, None

    def gather(self, mine):
        self.mine = mine.clone()
        other = self.others if self.others is not None else torch.zeros_like(mine)
        return torch.cat([mine, other] if self.rank == 0 else [other, mine])

    def share(self, data):
        return data


@pytest.mark.parametrize("count", [2, 4])
def test_two_processes_add_up_to_the_bits_of_one(model, batch, count):
    rows, whole = batch
    expected, _, after = gradients(model, InParts(ALONE, count), rows, whole)
    halves = [Half(0), Half(1)]
    for each in halves:
        gradients(model, InParts(each, count), rows, whole)
    for rank in (0, 1):
        found, _, drawn = gradients(model, InParts(Half(rank, halves[1 - rank].mine), count), rows, whole)
        assert all(torch.equal(one, other) for one, other in zip(expected, found, strict=True))
        assert torch.equal(after, drawn)


def test_one_process_that_wants_to_stop_stops_all(model, batch):
    asking = Half(1)
    InParts(asking, 2)(model, *batch, True)
    _, stop = InParts(Half(0, asking.mine), 2)(model, *batch, False)
    assert stop


def test_a_step_that_lost_a_process_leaves_the_random_numbers_as_they_were(model, batch):
    before = generator_state(torch.device("cpu"))
    try:
        with pytest.raises(RankLostError, match="of 2 processes only the first is here"):
            InParts(Leader(2), 2)(model, *batch, False)
        assert torch.equal(generator_state(torch.device("cpu")), before)
    finally:
        set_generator_state(torch.device("cpu"), before)


def test_a_model_trained_in_parts_is_the_whole_batchs_but_for_rounding(recipe, synthetic, within, captions, tokenizer):
    whole = train(recipe, synthetic.dataset, within, captions, tokenizer)
    settings = recipe.training.model_copy(update={"micro_batches": 2})
    parted = train(recipe.model_copy(update={"training": settings}), synthetic.dataset, within, captions, tokenizer)
    one, other = whole.model.state_dict(), parted.model.state_dict()
    assert max(float((one[name] - other[name]).abs().max()) for name in one) < 1e-6
    assert abs(whole.test_scores - parted.test_scores).max() < 1e-6


def test_parts_that_the_processes_cannot_share_evenly_are_refused(recipe, parts, model):
    with pytest.raises(RankError, match=r"training\.micro_batches is 3 and 2 processes share them"):
        fit(
            model,
            parts[1].train,
            parts[1].valid,
            seed=1,
            epochs=1,
            batch_size=256,
            patience=1,
            learning_rate=0.01,
            weight_decay=0.0,
            micro_batches=3,
            group=Half(0),
        )


def test_processes_with_other_inputs_are_refused_by_their_numbers():
    with pytest.raises(RankError, match=r"differ in their inputs: \[1\] are not as 0"):
        agree(Half(0), b"these", "inputs")


def test_an_empty_part_adds_nothing(model, batch):
    rows, whole = batch
    few = whole.part(slice(0, 1))
    assert isinstance(few, Batch)
    expected, loss, _ = gradients(model, whole_batch, rows, few)
    found, summed, _ = gradients(model, InParts(ALONE, 3), rows, few)
    assert float(summed) == pytest.approx(float(loss), abs=1e-7)
    assert all(torch.allclose(one, other, atol=1e-7) for one, other in zip(expected, found, strict=True))
