"""The sample requests of manifests/samples, sent as a reader would send them."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

SAMPLES = Path(__file__).parents[2] / "manifests" / "samples"


def run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_every_sample_is_sent_by_a_test_here() -> None:
    assert {path.name for path in SAMPLES.iterdir()} - {"experiment.yaml"} == {  # which tests/manifests reads
        "caption.sh",
        "rank-v1.json",
        "rank-v2.json",
        "rank.sh",
        "rank_grpc.py",
    }


@pytest.fixture(scope="module")
def ranked(transformer: Any) -> list[dict[str, Any]]:
    answer = run(str(SAMPLES / "rank.sh"), transformer.url)
    assert answer.returncode == 0, answer.stderr
    return [json.loads(line) for line in answer.stdout.splitlines()]


def test_the_rest_samples_rank_the_same_candidates(ranked: list[dict[str, Any]]) -> None:
    v1, v2 = ranked
    ranking = v1["predictions"][0]["ranking"]
    assert {entry["item_id"]: entry["caption"] for entry in ranking}["brand-new"] == "inline"
    tensors = {tensor["name"]: tensor["data"] for tensor in v2["outputs"]}
    items = ["i0001", "i0002", "i0003", "brand-new"]
    assert [items[position] for position in tensors["order"]] == [entry["item_id"] for entry in ranking]
    assert [tensors["score"][at] for at in tensors["order"]] == pytest.approx([e["score"] for e in ranking], abs=1e-5)


def test_the_grpc_sample_prints_the_same_order(transformer: Any, ranked: list[dict[str, Any]]) -> None:
    answer = run(sys.executable, str(SAMPLES / "rank_grpc.py"), f"127.0.0.1:{transformer.grpc_port}")
    assert answer.returncode == 0, answer.stderr
    expected = [entry["item_id"] for entry in ranked[0]["predictions"][0]["ranking"]]
    assert [line.split()[0] for line in answer.stdout.splitlines()] == expected


def test_a_refusal_reaches_the_reader(transformer: Any) -> None:
    answer = run(str(SAMPLES / "rank.sh"), transformer.url, "nosuchmodel")
    assert answer.returncode == 22
    assert "nosuchmodel" in answer.stdout


def test_the_picture_sample_captions(captioner: str, picture: Path) -> None:
    answer = run(str(SAMPLES / "caption.sh"), str(picture), captioner)
    assert answer.returncode == 0, answer.stderr
    assert json.loads(answer.stdout)["captions"][0]["caption"] == "a red car"
