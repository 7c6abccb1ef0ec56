"""Training processes side by side: asked to stop, each saves its run; killed, none stays."""

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest
from safetensors import safe_open

from training.folds import folds
from training.jobs import Crew, run_jobs
from training.loop import TrainingError, TrainingStoppedError
from training.run import train_all


@pytest.fixture(scope="module")
def long(recipe):
    """Two runs without an end, of 9 steps an epoch."""
    settings = recipe.training.model_copy(update={"epochs": 100_000, "patience": 100_000})
    return recipe.model_copy(update={"training": settings, "splits": recipe.splits[:1], "seeds": (1,)})


class After:
    """Asks to stop after so many steps."""

    def __init__(self, steps):
        self.left = steps

    def __call__(self):
        self.left -= 1
        return self.left < 0


def test_asked_to_stop_every_worker_saves_the_very_state_that_one_process_has_after_as_many_steps(
    long, synthetic, captions, tokenizer, tmp_path
):
    given = (synthetic.dataset, captions, tokenizer)

    def both_at_work():
        return len(list(tmp_path.glob("*.safetensors"))) == 2

    with pytest.raises(TrainingStoppedError, match=r"2 training process\(es\) saved their runs"):
        train_all(long, *given, checkpoints=tmp_path, crew=Crew(2, both_at_work))
    assert multiprocessing.active_children() == []
    for path in tmp_path.glob("*.safetensors"):
        (job,) = (each for fold in folds(long, *given, None, tmp_path) for each in fold.jobs if each.checkpoint == path)
        progress = json.loads(safe_open(path, "pt").metadata()["sightline.training.3"])["progress"]
        again = replace(job, checkpoint=tmp_path / "again" / path.name)
        with pytest.raises(TrainingStoppedError):
            run_jobs([again], Crew(1, After(9 * progress["done"] + progress["step"])), lambda *_: None, lambda _: None)
        assert again.checkpoint.read_bytes() == path.read_bytes()


def test_asked_to_stop_between_two_runs_the_next_does_not_begin(long, synthetic, captions, tokenizer, tmp_path):
    with pytest.raises(TrainingStoppedError, match="stopped before within_user 0, ranker without captions, seed 1"):
        train_all(long, synthetic.dataset, captions, tokenizer, checkpoints=tmp_path, crew=Crew(1, lambda: True))
    assert list(tmp_path.iterdir()) == []


def test_a_worker_that_is_killed_ends_the_job_and_the_others(long, synthetic, captions, tokenizer, tmp_path):
    def kill_one():
        if len(list(tmp_path.glob("*.safetensors"))) == 2:
            os.kill(multiprocessing.active_children()[0].pid, signal.SIGKILL)
        return False

    with pytest.raises(TrainingError, match="ended from outside"):
        train_all(long, synthetic.dataset, captions, tokenizer, checkpoints=tmp_path, crew=Crew(2, kill_one))
    assert multiprocessing.active_children() == []


def test_no_jobs_give_no_results():
    assert run_jobs([], Crew(1), lambda job, epoch: None, lambda job: None) == []


LEASHED = """
import signal, sys, time
from training import leash
leash.put_on()
if sys.argv[1] == "idle":
    print("ready", flush=True)
    time.sleep(60)
with leash.working() as asked:
    print("ready", flush=True)
    while not asked():
        time.sleep(0.01)
    print("saved", flush=True)
print("went on", flush=True)
"""


@pytest.mark.parametrize(("doing", "said"), [("idle", ""), ("working", "saved\n")])
def test_a_worker_told_to_end_finishes_its_saving_and_takes_nothing_new(doing, said):
    process = subprocess.Popen([sys.executable, "-c", LEASHED, doing], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "ready\n"
    time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    assert process.communicate(timeout=20)[0] == said
    assert process.returncode == 75
