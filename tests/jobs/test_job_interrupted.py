"""A job in a process of its own, told to end or killed: the next one goes on, and ends with the very same models."""

import hashlib
import random
import signal
import time
from pathlib import Path

import pytest

from models.store.fetch import verify
from models.store.store import ModelStore

ROUNDS = 6


@pytest.fixture
def folder(tmp_path):
    return tmp_path


@pytest.fixture
def command(inputs, folder):
    return ["train", *inputs, "--work", folder / "work", "--out-store", folder / "store", "--name", "shop"]


def checkpoints(folder):
    return list((folder / "work").rglob("*.safetensors"))


def models(store):
    """The digest of each published model: one committed entry of each name, and it is what was published."""
    found = {}
    if not store.exists() or not ModelStore.at(str(store)).names():
        return found
    for each in ModelStore.at(str(store)).listing():
        if each.entry is not None:
            assert each.name not in found, f"{each.name} was published twice"
            verify(each.uri)
            found[each.name] = hashlib.sha256((Path(each.uri) / "bundle/model.onnx").read_bytes()).hexdigest()
    return found


def test_killed_at_any_moments_the_job_ends_with_the_models_of_one_that_never_was(fork, command, folder, published):
    moments, killed = random.Random(11), 0
    for number in range(ROUNDS):
        job = fork(command)
        time.sleep(moments.uniform(0.1, 0.6 + number))
        job.signal(signal.SIGKILL)
        killed += job.wait() == -signal.SIGKILL
        models(folder / "store")
    assert killed >= 3, "the job was too fast to be killed: the test shows little"
    assert fork(command).wait() == 0
    assert models(folder / "store") == models(published.folder / "store")


def test_sigterm_saves_and_ends_with_75_and_the_next_start_goes_on(start, fork, command, folder, last_words, published):
    process = start("training.job", *command)
    while not checkpoints(folder):
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=30) == 75
    told = last_words()
    assert (told["job"], told["outcome"], told["bundles"]) == ("train", "interrupted", {})
    assert "within_user 0, ranker without captions, seed 1: stopped in epoch" in told["message"]
    assert fork(["lift", *command[1:-4], "--out", folder / "out"]).wait() == 0
    (expected,) = (published.folder / "work").rglob("lift.json")
    assert (folder / "out/lift.json").read_bytes() == expected.read_bytes()
