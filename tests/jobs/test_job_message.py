"""The termination message: JSON of at most 4,096 bytes, written into the very file that Kubernetes mounts."""

import json

import pytest

from training.job_message import LIMIT, Message, place, write


def test_a_message_is_the_json_that_the_status_command_reads():
    message = Message("train", "done", "fine", {"ranker": "s3://b/ranker/7"}, "sha256:1", {"auc": 0.5}, {"delta": 0.1})
    assert json.loads(message.to_json()) == {
        "job": "train",
        "outcome": "done",
        "message": "fine",
        "bundles": {"ranker": "s3://b/ranker/7"},
        "contract_digest": "sha256:1",
        "metrics": {"auc": 0.5},
        "lift": {"delta": 0.1},
    }


@pytest.mark.parametrize("character", ["x", "é", "😀", '"'])
def test_a_long_message_keeps_its_ends_and_stays_below_the_limit(character):
    data = Message("train", "failed", f"first {character * 5000} last", {"ranker": "file:///r/1"}).to_json()
    assert len(data) <= LIMIT
    told = json.loads(data)
    assert told["message"].startswith("first ")
    assert told["message"].endswith(" last")
    assert told["bundles"] == {"ranker": "file:///r/1"}


def test_metrics_go_before_bundles_and_lift_do():
    metrics = {f"split {n}": {"auc": 0.123456789} for n in range(200)}
    told = json.loads(Message("lift", "done", "m", {"ranker": "u"}, "d", metrics, {"delta": 1.0}).to_json())
    assert told["metrics"] == {}
    assert (told["bundles"], told["contract_digest"], told["lift"]) == ({"ranker": "u"}, "d", {"delta": 1.0})


def test_whatever_is_too_long_the_outcome_is_told():
    told = json.loads(Message("train", "failed", "why", {"ranker": "x" * 5000}).to_json())
    assert (told["job"], told["outcome"], told["message"], told["bundles"]) == ("train", "failed", "why", {})


def test_the_mounted_file_is_written_in_place_over_an_earlier_message(tmp_path):
    path = tmp_path / "termination-log"
    path.write_bytes(b"x" * 9000)
    mounted = path.stat().st_ino
    write(Message("lift", "done", "m"), path)
    assert json.loads(path.read_bytes())["outcome"] == "done"
    assert path.stat().st_ino == mounted
    write(Message("lift", "done", "m"), None)  # nobody asked for it


def test_the_environment_names_the_place_and_kubernetes_own_is_used_where_it_exists(tmp_path, monkeypatch):
    assert place({"SIGHTLINE_TERMINATION_LOG": "/x/y"}).as_posix() == "/x/y"
    monkeypatch.setattr("training.job_message.KUBERNETES", tmp_path / "none")
    assert place({}) is None
    monkeypatch.setattr("training.job_message.KUBERNETES", tmp_path)
    assert place({}) == tmp_path
