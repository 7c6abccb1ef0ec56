"""State within an epoch: stopped or killed after any step, a run takes the same steps as one that never was."""

import numpy as np
import pytest
import torch

from training.checkpoint import Pace, Saving
from training.loop import TrainingStoppedError
from training.variant import train

STEPS = 9  # of an epoch: 2,151 training rows in batches of 256; 3 epochs


def same(first, second):
    one, other = first.model.state_dict(), second.model.state_dict()
    assert one.keys() == other.keys()
    return all(torch.equal(one[name], other[name]) for name in one) and np.array_equal(
        first.test_scores, second.test_scores
    )


class After:
    """Asks to stop after so many steps, or raises as a kill would: nothing more is saved."""

    def __init__(self, steps, error=None):
        self.steps, self.error, self.seen = steps, error, 0

    def __call__(self):
        self.seen += 1
        if self.error is not None and self.seen > self.steps:
            raise self.error
        return self.error is None and self.seen >= self.steps


class KilledError(Exception):
    pass


@pytest.fixture(scope="module")
def parts(recipe, synthetic, within, captions, tokenizer):
    """What `train` takes; dropout and hidden rows draw random numbers in every step."""
    assert recipe.ranker.dropout
    assert recipe.hide
    return recipe, synthetic.dataset, within, captions, tokenizer


@pytest.fixture(scope="module")
def whole(parts):
    steps = After(10**9)
    result = train(*parts, stop=steps)
    assert steps.seen == 3 * STEPS
    return result


@pytest.mark.parametrize("steps", [1, STEPS - 1, STEPS, STEPS + 1, 2 * STEPS + 4, 3 * STEPS])
def test_a_run_stopped_after_any_step_goes_on_bit_for_bit(parts, whole, tmp_path, steps):
    path = tmp_path / "run.safetensors"
    with pytest.raises(TrainingStoppedError, match=f"epoch {(steps - 1) // STEPS + 1} of 3, after step"):
        train(*parts, checkpoint=path, stop=After(steps))
    rest = After(10**9)
    assert same(train(*parts, checkpoint=path, stop=rest), whole)
    assert rest.seen == 3 * STEPS - steps


def test_a_run_stopped_after_every_single_step_goes_on_bit_for_bit(parts, whole, tmp_path):
    path, epochs = tmp_path / "run.safetensors", []
    for _ in range(3 * STEPS):
        with pytest.raises(TrainingStoppedError):
            train(*parts, checkpoint=path, stop=After(1), on_epoch=epochs.append)
    assert same(train(*parts, checkpoint=path, on_epoch=epochs.append), whole)
    uninterrupted = []
    train(*parts, on_epoch=uninterrupted.append)
    assert [(each.number, each.loss, each.valid_auc) for each in epochs] == [
        (each.number, each.loss, each.valid_auc) for each in uninterrupted
    ]


@pytest.mark.parametrize(("killed_after", "kept"), [(3, 0), (4, 4), (7, 4), (STEPS + 2, STEPS), (STEPS + 6, STEPS + 4)])
def test_a_kill_costs_the_steps_since_the_last_save_and_no_more(parts, whole, tmp_path, killed_after, kept):
    recipe, *rest = parts
    often = recipe.model_copy(update={"checkpoint": recipe.checkpoint.model_copy(update={"steps": 4})})
    path = tmp_path / "run.safetensors"
    with pytest.raises(KilledError):
        train(often, *rest, checkpoint=path, stop=After(killed_after, KilledError()))
    again = After(10**9)
    assert same(train(often, *rest, checkpoint=path, stop=again), whole)
    assert again.seen == 3 * STEPS - kept


def test_a_finished_run_keeps_its_result_alone_and_takes_no_step_again(parts, whole, tmp_path):
    path = tmp_path / "run.safetensors"
    with pytest.raises(TrainingStoppedError):
        train(*parts, checkpoint=path, stop=After(2))
    unfinished = path.stat().st_size
    train(*parts, checkpoint=path)
    again = After(10**9)
    assert same(train(*parts, checkpoint=path, stop=again), whole)
    assert again.seen == 0
    assert path.stat().st_size < unfinished / 3  # no optimizer, no second weights


def test_how_often_to_save_is_no_part_of_what_a_run_is(parts, whole, tmp_path):
    recipe, *rest = parts
    path = tmp_path / "run.safetensors"
    with pytest.raises(TrainingStoppedError):
        train(recipe, *rest, checkpoint=path, stop=After(5))
    other = recipe.model_copy(
        update={"checkpoint": recipe.checkpoint.model_copy(update={"seconds": 1.0}), "workers": 2}
    )
    assert same(train(other, *rest, checkpoint=path), whole)


def test_a_save_is_due_by_seconds_or_by_steps(tmp_path):
    now = 0.0
    pace = Pace(Saving(tmp_path, seconds=60, steps=3), lambda: now)
    assert [pace.after_step() for _ in range(4)] == [False, False, True, True]
    pace.saved()
    assert not pace.after_step()
    now = 60.0
    assert pace.after_step()
    pace.saved()
    now = 119.9
    assert not pace.after_step()
    by_seconds = Pace(Saving(tmp_path), lambda: now)
    assert not any(by_seconds.after_step() for _ in range(1000))
    assert not Pace(None, lambda: now).after_step()
