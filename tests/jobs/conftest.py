"""A tiny data set, its captions as the backfill writes them, and the job run here or in a process of its own."""

import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from training import job
from training.data import tables
from training.data.synthetic import generate

RECIPE = """
name: small
ranker: {architecture: dcn, embedding: {size: 4}, deep: [8], dropout: 0.1}
training: {batch_size: 64, epochs: 12, patience: 12, learning_rate: 0.01, threads: 1, micro_batches: 2}
caption: {max_tokens: 16, buckets: 500}
hide: [{share: 0.2, features: [item_id, popularity]}]
seeds: [1]
checkpoint: {steps: 3}
bootstrap: {resamples: 100}
"""


def place_of(item):
    """Where the picture of an item is said to be."""
    return f"https://shop.example/{item}.png"


def deal(folder, rows, shards):
    """As the fixture `write_shards` says."""
    folder.mkdir()
    for shard in range(shards):
        part = rows[shard::shards]
        columns = {
            "item_id": [item for item, _ in part],
            "caption": pa.array([caption for _, caption in part], pa.string()),
            "captioner": ["tiny"] * len(part),
            "prompt": ["Describe the picture."] * len(part),
            "image": ["0" * 64] * len(part),
            "place": [place_of(item) for item, _ in part],
        }
        pq.write_table(pa.table(columns), folder / f"captions-{shard}-of-{shards}.parquet")
    return folder


@pytest.fixture(scope="session")
def write_shards():
    """Writes (item, caption) rows to a new folder, dealt to so many shards."""
    return deal


@pytest.fixture(scope="session")
def given(tmp_path_factory):
    """A folder with data, captions and recipe.yaml."""
    folder = tmp_path_factory.mktemp("given")
    made = generate(seed=1, users=40, items=30, interactions=1500, lift=0.05)
    pictured = made.dataset.with_images({item: place_of(item) for item in made.dataset.items["item_id"]})
    tables.write(pictured, folder / "data")
    texts = sorted(made.captions.items())
    deal(folder / "captions", [(item, text if n % 10 else None) for n, (item, text) in enumerate(texts)], 2)
    (folder / "recipe.yaml").write_text(RECIPE)
    return folder


@pytest.fixture(scope="session")
def inputs(given):
    """The options that name them."""
    names = {"--recipe": "recipe.yaml", "--data": "data", "--captions": "captions"}
    return [word for option, name in names.items() for word in (option, str(given / name))]


@pytest.fixture(autouse=True)
def termination_log(tmp_path, monkeypatch):
    """Where a job of this test leaves its message; as Kubernetes does, the file is there before."""
    path = tmp_path / "termination-log"
    path.touch()
    monkeypatch.setenv("SIGHTLINE_TERMINATION_LOG", str(path))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    return path


@pytest.fixture
def last_words(termination_log):
    """Reads the message."""
    return lambda: json.loads(termination_log.read_bytes())


@pytest.fixture
def run():
    """Runs a job in this process; gives its exit code."""
    handlers = _handlers()
    yield lambda *argv: job.main([str(word) for word in argv])
    _put_back(handlers)


@dataclass(frozen=True)
class Ended:
    """A job that has ended, and its folder with `store` and `work`."""

    folder: Path
    command: list
    code: int
    told: dict
    printed: str


@pytest.fixture(scope="session")
def published(inputs, tmp_path_factory):
    """A `train` job from its beginning to its end, in this process."""
    folder = tmp_path_factory.mktemp("published")
    command = ["train", *inputs, "--work", folder / "work", "--out-store", folder / "store", "--name", "shop"]
    handlers, printed = _handlers(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(printed):
        patch.setenv("SIGHTLINE_TERMINATION_LOG", str(folder / "message"))
        code = job.main([str(word) for word in command])
    _put_back(handlers)
    return Ended(folder, command, code, json.loads((folder / "message").read_bytes()), printed.getvalue())


@dataclass(frozen=True)
class Forked:
    """A running job; `wait` gives its exit code, negative for a signal."""

    pid: int
    ask: Callable

    def wait(self):
        return self.ask(wait=self.pid)

    def signal(self, number):
        os.kill(self.pid, number)


@pytest.fixture(scope="session")
def stem_cell():
    """A process that has loaded everything, and asks it for something."""
    command = [sys.executable, Path(__file__).with_name("stem_cell.py")]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(command, text=True, env=environment, start_new_session=True, **pipes) as cell:

        def ask(**what):
            cell.stdin.write(json.dumps(what) + "\n")
            cell.stdin.flush()
            return int(cell.stdout.readline())

        yield ask
        os.killpg(cell.pid, signal.SIGKILL)


@pytest.fixture
def fork(stem_cell, termination_log):
    """Starts a job in a process of its own, with more of an environment."""

    def fork(argv, **environment):
        environment = {"SIGHTLINE_TERMINATION_LOG": termination_log, **environment}
        texts = {name: str(value) for name, value in environment.items()}
        return Forked(stem_cell(argv=[str(word) for word in argv], environment=texts), stem_cell)

    return fork


@pytest.fixture
def start(tmp_path):
    """Starts `python -m …` with more of an environment; processes that a test leaves behind are killed."""
    started = []

    def start(*command, **environment):
        log = (tmp_path / f"log-{len(started)}").open("w+")
        process = subprocess.Popen(
            [sys.executable, "-m", *map(str, command)],
            stdout=log,
            stderr=subprocess.STDOUT,
            env={**os.environ, **{name: str(value) for name, value in environment.items()}},
            start_new_session=True,
        )
        started.append((process, log))
        return process

    yield start
    for process, log in started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        log.close()


def _handlers():
    return {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}


def _put_back(handlers):
    for number, handler in handlers.items():
        signal.signal(number, handler)
