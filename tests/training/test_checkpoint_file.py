"""A checkpoint that is not what was written is never gone on from: the one before it is, or the run starts over."""

import json

import pytest
import torch
from safetensors.torch import save

from training.checkpoint import Checkpoint
from training.checkpoint_file import CheckpointError, DamagedCheckpointError, forget, newest_whole, set_aside, unsealed
from training.loop import TrainingStoppedError
from training.variant import train

IDENTITY = {"contract": "sha256:abc", "data": "sha256:def", "seed": 1}


def state(step):
    best, weights = ({"w": torch.tensor([1.5, -2.0]) * step} for _ in range(2))
    progress = {"finished": False, "done": 0, "step": step, "best_epoch": 0, "best_auc": None}
    epoch = {"loss": torch.tensor(0.5), "generator": torch.arange(4, dtype=torch.uint8)}
    return Checkpoint(IDENTITY, progress, best, weights, {"w.exp_avg": torch.tensor([0.25])}, epoch)


def step_of(found):
    return Checkpoint.parse(*found, IDENTITY).progress["step"]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "run.safetensors"


def test_one_flipped_bit_anywhere_is_found(path):
    state(3).write(path)
    data = path.read_bytes()
    assert Checkpoint.parse(data, "it", IDENTITY).progress["step"] == 3
    for place in range(len(data)):
        for bit in range(8):
            flipped = bytearray(data)
            flipped[place] ^= 1 << bit
            with pytest.raises(DamagedCheckpointError):
                Checkpoint.parse(bytes(flipped), "it", IDENTITY)


def test_every_truncation_and_anything_appended_is_found(path):
    state(3).write(path)
    data = path.read_bytes()
    for other in (*(data[:length] for length in range(len(data))), data + b"\0", data + data):
        with pytest.raises(DamagedCheckpointError):
            unsealed(other, "it")


def test_the_same_state_is_the_same_bytes_and_any_safetensors_tool_reads_it(path, tmp_path):
    state(3).write(path)
    state(3).write(tmp_path / "other.safetensors")
    assert path.read_bytes() == (tmp_path / "other.safetensors").read_bytes()


@pytest.mark.parametrize("damage", [lambda data: data[:100], lambda data: b"", lambda data: data[:-1] + b"\1"])
def test_a_damaged_newest_state_is_set_aside_and_the_one_before_it_is_taken(path, caplog, damage):
    for step in (1, 2, 3):
        state(step).write(path)
    path.write_bytes(damage(path.read_bytes()))
    assert step_of(newest_whole(path)) == 2
    assert f"CHECKPOINT SET ASIDE: {path} is damaged" in caplog.text
    assert set_aside(path.parent) == [path.with_name("run.safetensors.damaged")]
    state(4).write(path)
    assert step_of(newest_whole(path)) == 4


def test_with_both_damaged_the_run_starts_over(path, caplog):
    for step in (1, 2):
        state(step).write(path)
    for file in path.parent.iterdir():
        file.write_bytes(file.read_bytes()[:-1])
    assert newest_whole(path) is None
    assert caplog.text.count("CHECKPOINT SET ASIDE") == 2
    assert [file.suffix for file in path.parent.iterdir()] == [".damaged", ".damaged"]


def test_a_checkpoint_of_an_earlier_version_has_no_checksum_and_is_set_aside_with_that_sentence(path, caplog):
    document = json.dumps({"identity": IDENTITY, "progress": {}})
    path.write_bytes(save({"best/w": torch.ones(2)}, {"sightline.training.2": document}))
    assert newest_whole(path) is None
    assert "has no checksum: an earlier version wrote it" in caplog.text


def test_a_file_that_may_not_be_read_is_refused_as_its_owner_can_help(path, monkeypatch):
    state(1).write(path)

    def refuse(self):
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(type(path), "read_bytes", refuse)
    with pytest.raises(CheckpointError, match=r"cannot be read \(Permission denied\); remove it to start anew"):
        newest_whole(path)


def test_what_is_forgotten_is_all_but_the_damaged(path):
    for step in (1, 2):
        state(step).write(path)
    path.write_bytes(b"")
    newest_whole(path)
    state(3).write(path)
    path.with_name(".run.safetensors.new.abcd").touch()  # left by a kill
    forget(path.parent)
    assert [file.name for file in path.parent.iterdir()] == ["run.safetensors.damaged"]


@pytest.mark.parametrize("damaged", [("",), ("", ".previous")])
def test_a_run_with_damaged_states_ends_with_the_bits_of_one_that_never_was(
    recipe, synthetic, within, captions, tokenizer, tmp_path, damaged, caplog
):
    parts, path, asked = (recipe, synthetic.dataset, within, captions, tokenizer), tmp_path / "run.safetensors", []
    whole = train(*parts)

    def stop():
        asked.append(None)
        return len(asked) >= 12

    with pytest.raises(TrainingStoppedError):
        train(*parts, checkpoint=path, stop=stop)
    for suffix in damaged:
        file = path.with_name(path.name + suffix)
        data = bytearray(file.read_bytes())
        data[-20] ^= 1
        file.write_bytes(data)
    again = train(*parts, checkpoint=path)
    assert all(torch.equal(value, again.model.state_dict()[name]) for name, value in whole.model.state_dict().items())
    assert caplog.text.count("CHECKPOINT SET ASIDE") == len(damaged)
