"""The loop: same seed, same bits; going on from a checkpoint, same bits; and what is served is what was trained."""

import numpy as np
import pytest
import torch

from models.contract import encode
from models.export.onnx import torch_scores
from training.checkpoint_file import CheckpointError
from training.data.features import columns
from training.loop import TrainingError
from training.recipe import RecipeError
from training.rows import encode_split
from training.variant import hidden_columns, split_contract, train


def weights(result):
    return {name: value.clone() for name, value in result.model.state_dict().items()}


def same(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


@pytest.fixture(scope="module")
def trained(recipe, synthetic, within, captions, tokenizer):
    return train(recipe, synthetic.dataset, within, captions, tokenizer)


def test_the_same_seed_gives_the_same_weights_and_another_seed_others(
    recipe, synthetic, within, captions, tokenizer, trained
):
    again = train(recipe, synthetic.dataset, within, captions, tokenizer)
    other = train(recipe, synthetic.dataset, within, captions, tokenizer, seed=2)
    assert same(weights(trained), weights(again))
    assert np.array_equal(trained.test_scores, again.test_scores)
    assert not same(weights(trained), weights(other))


def test_the_global_generator_is_left_alone(recipe, synthetic, within, captions, tokenizer):
    torch.manual_seed(3)
    before = torch.get_rng_state()
    train(recipe, synthetic.dataset, within, captions, tokenizer)
    assert torch.equal(before, torch.get_rng_state())
    assert not torch.are_deterministic_algorithms_enabled()


def test_a_resumed_run_is_bit_for_bit_the_uninterrupted_one(
    recipe, synthetic, within, captions, tokenizer, trained, tmp_path
):
    path = tmp_path / "run.safetensors"

    class StopError(Exception):
        pass

    def interrupt(epoch):
        if epoch.number == 2:
            raise StopError

    with pytest.raises(StopError):
        train(recipe, synthetic.dataset, within, captions, tokenizer, checkpoint=path, on_epoch=interrupt)
    seen = []
    resumed = train(recipe, synthetic.dataset, within, captions, tokenizer, checkpoint=path, on_epoch=seen.append)
    assert [epoch.number for epoch in seen] == [3]
    assert same(weights(trained), weights(resumed))
    assert np.array_equal(trained.test_scores, resumed.test_scores)


def test_a_finished_checkpoint_gives_its_result_without_training(
    recipe, synthetic, within, captions, tokenizer, trained, tmp_path
):
    path = tmp_path / "run.safetensors"
    train(recipe, synthetic.dataset, within, captions, tokenizer, checkpoint=path)
    seen = []
    again = train(recipe, synthetic.dataset, within, captions, tokenizer, checkpoint=path, on_epoch=seen.append)
    assert seen == []
    assert same(weights(trained), weights(again))


def test_a_checkpoint_of_another_contract_seed_or_setting_is_refused_naming_both(
    recipe, synthetic, within, captions, tokenizer, tmp_path
):
    path = tmp_path / "run.safetensors"
    train(recipe, synthetic.dataset, within, captions, tokenizer, checkpoint=path)
    with pytest.raises(CheckpointError, match=r"contract: 'sha256:.*' in the file, 'sha256:.*' now"):
        train(recipe, synthetic.dataset, within, None, tokenizer, checkpoint=path)
    with pytest.raises(CheckpointError, match="seed: 1 in the file, 2 now"):
        train(recipe, synthetic.dataset, within, captions, tokenizer, seed=2, checkpoint=path)
    slower = recipe.model_copy(update={"training": recipe.training.model_copy(update={"learning_rate": 0.001})})
    with pytest.raises(CheckpointError, match="learning_rate"):
        train(slower, synthetic.dataset, within, captions, tokenizer, checkpoint=path)


def test_the_full_tables_score_the_contracts_own_tensors_as_training_did(synthetic, within, captions, trained):
    contract = trained.contract
    parts = encode_split(synthetic.dataset, within, contract, captions)
    tensors = encode(
        contract,
        columns(synthetic.dataset, within, within.test, contract),
        [captions.get(item) for item in synthetic.dataset.interactions["item_id"].iloc[within.test]],
    )
    for name, values in parts.test.tensors(contract).items():
        assert np.array_equal(values, tensors[name])
    assert np.abs(torch_scores(trained.model, tensors) - trained.test_scores).max() < 1e-6


def test_an_id_never_seen_in_training_scores_as_a_missing_one(synthetic, within, captions, trained):
    contract = trained.contract
    raw = columns(synthetic.dataset, within, within.test[:50], contract)
    tokens = [None] * 50
    unknown = encode(contract, {**raw, "user_id": [f"nobody {n}" for n in range(50)]}, tokens)
    missing = encode(contract, {**raw, "user_id": [None] * 50}, tokens)
    seen = set(
        encode(contract, columns(synthetic.dataset, within, within.train, contract), [None] * len(within.train))[
            "categorical"
        ][:, 0]
    )
    new = [bucket not in seen for bucket in unknown["categorical"][:, 0]]
    assert sum(new) > 30
    assert np.array_equal(torch_scores(trained.model, unknown)[new], torch_scores(trained.model, missing)[new])


def test_unknown_caption_tokens_leave_the_other_tokens_vector_but_for_its_length(trained):
    table = trained.model.caption.tables[0].weight.detach()
    zero_rows = (table == 0).all(dim=1)
    assert zero_rows[0]
    assert zero_rows.float().mean() > 0.3  # most buckets of the small corpus were never shown


def test_hidden_columns_are_those_of_the_contract_with_their_encoded_defaults(recipe, synthetic, within, tokenizer):
    contract = split_contract(recipe, synthetic.dataset, within, tokenizer)
    item, user, caption = hidden_columns(recipe, contract)
    assert [contract.categorical[column].name for column in item.categorical] == ["item_id"]
    ((column, value),) = item.dense
    feature = contract.dense[column]
    assert feature.name == "popularity"
    assert value == pytest.approx((np.log1p(feature.default) - feature.mean) / feature.std, rel=1e-6)
    assert user.share == 0.1
    assert caption.caption


def test_a_hidden_feature_that_does_not_exist_is_refused_by_name(recipe, synthetic, within, captions, tokenizer):
    wrong = recipe.model_copy(update={"hide": (recipe.hide[0].model_copy(update={"features": ("itemid",)}),)})
    with pytest.raises(RecipeError, match=r"hide.features has \['itemid'\]"):
        train(wrong, synthetic.dataset, within, captions, tokenizer)


def test_early_stopping_keeps_the_best_epoch(recipe, synthetic, within, captions, tokenizer):
    long = recipe.model_copy(
        update={"training": recipe.training.model_copy(update={"epochs": 30, "learning_rate": 0.05})}
    )
    history = []
    result = train(long, synthetic.dataset, within, captions, tokenizer, on_epoch=history.append)
    best = max(history, key=lambda epoch: epoch.valid_auc)
    assert result.fitted.best_epoch == best.number
    assert result.fitted.valid_auc == best.valid_auc
    assert result.fitted.epochs == best.number + long.training.patience < 30


def test_a_loss_that_explodes_stops_the_run(recipe, synthetic, within, captions, tokenizer):
    wild = recipe.model_copy(update={"training": recipe.training.model_copy(update={"learning_rate": 1e20})})
    with pytest.raises(TrainingError, match="lower learning_rate"):
        train(wild, synthetic.dataset, within, captions, tokenizer)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_refused(recipe, synthetic, within, captions, tokenizer):
    on_gpu = recipe.model_copy(update={"training": recipe.training.model_copy(update={"device": "cuda"})})
    with pytest.raises(TrainingError, match=r"set training\.device to cpu"):
        train(on_gpu, synthetic.dataset, within, captions, tokenizer)
