"""The command line, in the chart's own words; wrong usage is 2 and told at once."""

import subprocess
import sys
from pathlib import Path

import pytest

from training.job_arguments import parse

INPUTS = ["--recipe", "r.yaml", "--data", "d", "--captions", "c", "--work", "w"]


def test_the_promised_defaults():
    given = parse(["train", *INPUTS, "--out-store", "s3://b/models"])
    assert (given.job, given.recipe, given.data, given.captions, given.work) == ("train", "r.yaml", "d", "c", Path("w"))
    assert (given.name, given.out, given.tokenizer, given.workers, given.checkpoint_seconds) == ("ranker", *[None] * 4)
    assert (given.distributed, given.rank_timeout) == (False, 300)
    assert parse(["publish", "--bundle", "b", "--out-store", "s"]).name is None


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        ([], "required: train|lift|publish"),
        (["tidy"], "invalid choice"),
        (["train", *INPUTS], "give --out-store, --out or both"),
        (["train", *INPUTS[:-2], "--out", "o"], "required: --work"),
        (["lift", *INPUTS, "--out-store", "s"], "unrecognized arguments: --out-store"),
        (["lift", *INPUTS[:4], "--captions", "none", "--work", "w"], "nothing to measure without captions"),
        (["train", *INPUTS, "--out", "o", "--recip", "x"], "unrecognized arguments: --recip"),
        (["train", *INPUTS, "--out", "o", "--workers", "0"], "--workers: '0': expected 1 or more"),
        (["train", *INPUTS, "--out", "o", "--checkpoint-seconds", "-1"], "expected seconds above 0"),
        (["train", *INPUTS, "--out", "o", "--rank-timeout", "soon"], "--rank-timeout"),
        (["publish", "--bundle", "b"], "required: --out-store"),
    ],
)
def test_wrong_usage_ends_with_2_and_says_why(argv, words, capsys):
    with pytest.raises(SystemExit, match="2"):
        parse(argv)
    assert words in capsys.readouterr().err


def test_the_real_command_says_so_without_loading_what_it_would_need():
    command = [sys.executable, "-X", "importtime", "-m", "training.job", "train"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 2
    assert "the following arguments are required: --recipe" in ended.stderr
    assert "| torch" not in ended.stderr
