"""Two processes that share every batch: the bits of one process, stopped together, and none waits for the dead."""

import contextlib
import json
import signal
import socket
import time

import pytest

from training.job_torchrun import exit_code

TORCHRUN = ["--nnodes", "1", "--nproc-per-node", "2", "--rdzv-backend", "c10d", "--rdzv-endpoint", "127.0.0.1:0"]


@pytest.fixture(scope="module")
def recipe(given):
    """Writes the recipe with other epochs."""

    def recipe(epochs):
        path = given / f"{epochs}-epochs.yaml"
        path.write_text((given / "recipe.yaml").read_text().replace("12", str(epochs)))
        return path

    return recipe


def checkpoints(work):
    """The bytes of each checkpoint; one that the job takes away meanwhile is left out."""
    found = {}
    for path in work.rglob("*.safetensors"):
        with contextlib.suppress(FileNotFoundError):
            found[path.name] = path.read_bytes()
    return found


def progress(work):
    (state,) = checkpoints(work).values()
    header = json.loads(state[8 : 8 + int.from_bytes(state[:8], "little")])
    return json.loads(header["__metadata__"]["sightline.training.3"])["progress"]


def wait_for(condition, seconds=240):
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.02)


@pytest.mark.timeout(400)
def test_real_torchrun_trains_the_bits_of_one_process_and_ends_with_75_when_told(
    start, run, inputs, recipe, tmp_path, last_words
):
    """The first of two runs is trained by two processes, the second begun; one process finishes it."""
    job = ["lift", *inputs, "--recipe", recipe(60), "--work", tmp_path / "two"]
    launcher = start("training.job_torchrun", *TORCHRUN, "-m", "training.job", *job, "--distributed")
    wait_for(lambda: len(checkpoints(tmp_path / "two")) == 2)
    launcher.send_signal(signal.SIGTERM)
    assert launcher.wait(timeout=40) == 75
    assert (last_words()["job"], last_words()["outcome"]) == ("lift", "interrupted")
    assert "ranker with captions, seed 1: stopped in epoch" in last_words()["message"]
    assert (tmp_path / "log-0").read_text().count("lift interrupted: ") == 1  # one of the two speaks

    assert run(*job) == 0
    assert run("lift", *inputs, "--recipe", recipe(60), "--work", tmp_path / "one") == 0
    runs = checkpoints(tmp_path / "one")
    assert len(runs) == 2
    assert runs == checkpoints(tmp_path / "two")


@pytest.fixture
def pods(fork, inputs, recipe, tmp_path):
    """Starts processes as two pods have them: their own folders and messages, and without torchrun's launcher."""

    def pods(epochs, ranks=(0, 1), timeout=20):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free.getsockname()[1], "WORLD_SIZE": 2}
        job = ["lift", *inputs, "--recipe", recipe(epochs), "--distributed", "--rank-timeout", timeout]
        return [
            fork(
                [*job, "--work", tmp_path / f"work-{rank}"],
                RANK=rank,
                SIGHTLINE_TERMINATION_LOG=tmp_path / f"message-{rank}",
                **shared,
            )
            for rank in ranks
        ]

    return pods


def message(tmp_path, rank):
    return json.loads((tmp_path / f"message-{rank}").read_bytes())


def test_both_are_done_when_the_first_has_everything(pods, tmp_path, published):
    assert [process.wait() for process in pods(12)] == [0, 0]
    assert message(tmp_path, 0)["lift"] == published.told["lift"]
    assert message(tmp_path, 1)["message"] == "took part as process 1 of 2"
    assert checkpoints(tmp_path / "work-1") == {}  # the first alone writes


def test_a_process_whose_other_one_is_killed_saves_and_ends_soon(pods, tmp_path):
    first, second = pods(9999)
    wait_for(lambda: checkpoints(tmp_path / "work-0"))
    second.signal(signal.SIGKILL)
    began = time.monotonic()
    assert (first.wait(), second.wait()) == (75, -signal.SIGKILL)
    assert time.monotonic() - began < 15
    assert message(tmp_path, 0)["outcome"] == "interrupted"
    assert "process 0 of 2 lost another one" in message(tmp_path, 0)["message"]


def test_a_process_whose_other_one_hangs_ends_after_the_time_it_is_given(pods, tmp_path):
    first, second = pods(9999, timeout=8)
    wait_for(lambda: checkpoints(tmp_path / "work-0"))
    second.signal(signal.SIGSTOP)
    assert first.wait() == 75
    assert "lost another one" in message(tmp_path, 0)["message"]
    second.signal(signal.SIGKILL)
    assert second.wait() == -signal.SIGKILL


def test_sigterm_to_one_process_stops_both_after_the_same_step(pods, tmp_path):
    processes = pods(9999)
    wait_for(lambda: checkpoints(tmp_path / "work-0"))
    processes[1].signal(signal.SIGTERM)
    assert [process.wait() for process in processes] == [75, 75]
    one, other = (message(tmp_path, rank)["message"] for rank in (0, 1))
    assert one == other
    where = progress(tmp_path / "work-0")
    assert f"stopped in epoch {where['done'] + 1} of 9999, after step {where['step']}" in one


def test_the_first_process_alone_measures_what_is_trained_and_trains_nothing(pods, tmp_path):
    """As when it is started again after the others were done."""
    assert [process.wait() for process in pods(12)] == [0, 0]
    (report,) = (tmp_path / "work-0").rglob("lift.json")
    measured = report.read_bytes()
    report.unlink()
    (first,) = pods(12, ranks=(0,), timeout=2)
    assert first.wait() == 0
    assert report.read_bytes() == measured
    (first,) = pods(60, ranks=(0,), timeout=2)
    assert first.wait() == 75
    assert "there is more to train" in message(tmp_path, 0)["message"]


def test_a_process_alone_waits_no_longer_than_it_is_told(run, inputs, tmp_path, last_words, monkeypatch):
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(nobody.getsockname()[1])}
    for name, value in {**address, "RANK": "1", "WORLD_SIZE": "2"}.items():
        monkeypatch.setenv(name, value)
    assert run("lift", *inputs, "--work", tmp_path, "--distributed", "--rank-timeout", "1") == 75
    assert "process 1 of 2 waited 1 s for the others at 127.0.0.1:" in last_words()["message"]


def test_distributed_without_torchrun_is_refused(run, inputs, tmp_path, last_words, monkeypatch):
    for name in ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    assert run("lift", *inputs, "--work", tmp_path, "--distributed") == 1
    assert "RANK, WORLD_SIZE, MASTER_ADDR, MASTER_PORT not set" in last_words()["message"]


@pytest.mark.parametrize(
    ("ended", "code"), [([75, 75], 75), ([75], 75), ([-9, 75], 137), ([75, 1], 1), ([-9, 1], 1), ([2], 2)]
)
def test_torchruns_exit_code_is_that_of_the_process_to_blame(ended, code):
    assert exit_code(ended) == code
