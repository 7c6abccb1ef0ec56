"""The termination message: JSON that Kubernetes keeps, never more than it keeps."""

import json

import pytest

from models import termination
from models.termination import TERMINATION_BYTES, termination_bytes, write_termination


def test_the_document_is_written_where_the_variable_says(tmp_path):
    file = tmp_path / "log"
    document = {"job": "train", "outcome": "done", "message": "größer", "metrics": {"auc": 0.7}}
    assert write_termination(document, {"SIGHTLINE_TERMINATION_LOG": str(file)}) == file
    assert json.loads(file.read_bytes()) == document


def test_without_the_variable_it_is_kubernetes_file_or_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(termination, "TERMINATION_FILE", tmp_path / "termination-log")
    assert write_termination({"job": "lift"}, {}) is None
    (tmp_path / "termination-log").touch()
    assert write_termination({"job": "lift"}, {}) == tmp_path / "termination-log"
    assert json.loads((tmp_path / "termination-log").read_bytes()) == {"job": "lift"}


def test_a_file_that_cannot_be_written_is_said_and_is_no_failure(tmp_path, capsys):
    assert write_termination({"job": "lift"}, {"SIGHTLINE_TERMINATION_LOG": str(tmp_path / "no" / "log")}) is None
    assert "set SIGHTLINE_TERMINATION_LOG" in capsys.readouterr().err


@pytest.mark.parametrize("letter", ["a", "é", "\n", '"', "\ud800"])
def test_a_long_message_is_cut_at_its_end(letter):
    raw = termination_bytes({"job": "train", "message": "first: " + letter * 9000, "metrics": {"auc": 0.7}})
    assert TERMINATION_BYTES // 2 < len(raw) <= TERMINATION_BYTES
    kept = json.loads(raw)
    assert kept["message"].startswith("first: ")
    assert kept["message"].endswith(" …")
    assert kept["metrics"] == {"auc": 0.7}


def test_metrics_go_before_bundles_and_it_says_so():
    metrics = {f"metric {number}": 0.123456789 for number in range(300)}
    kept = json.loads(termination_bytes({"job": "train", "metrics": metrics, "bundles": {"ranker": "s3://a/b/1"}}))
    assert kept == {"job": "train", "bundles": {"ranker": "s3://a/b/1"}, "left_out": ["metrics"]}


def test_what_cannot_be_cut_or_is_no_json_is_refused():
    with pytest.raises(ValueError, match="expected at most 4096"):
        termination_bytes({"job": "x" * 5000})
    with pytest.raises(ValueError, match="JSON"):
        termination_bytes({"metrics": {"auc": float("nan")}})
