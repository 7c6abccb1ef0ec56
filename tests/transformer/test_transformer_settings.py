"""Arguments, environment and defaults; and the page that lists them."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from serving.transformer.metrics import Metrics
from serving.transformer.settings import Settings, SettingsError, read_settings

NEEDED = ["--bundle", "b", "--store", "s", "--predictor_host", "h:1"]
README = Path(__file__).parents[2] / "serving" / "transformer" / "README.md"


def test_defaults_are_those_promised() -> None:
    settings = read_settings(NEEDED, {})
    assert settings.models == {"ranker": Path("b")}
    assert (settings.host, settings.http_port, settings.grpc_port) == ("0.0.0.0", 8080, 8081)
    assert (settings.max_candidates, settings.predictor_request_timeout_seconds) == (1000, 2.0)
    assert settings.store_timeout_seconds == 0.15
    assert (settings.assignments, settings.exposures, settings.arm_header) == (None, None, "x-sightline-arm")
    assert not settings.tell_arm
    assert settings.candidate_seconds == 1.0


def test_arguments_win_over_the_environment() -> None:
    environment = {"SIGHTLINE_TRANSFORMER_HTTP_PORT": "1000", "SIGHTLINE_TRANSFORMER_GRPC_PORT": "1001", "HOME": "/"}
    settings = read_settings([*NEEDED, "--http_port", "2000"], environment)
    assert (settings.http_port, settings.grpc_port) == (2000, 1001)


def test_further_models_are_named_by_arguments_or_environment() -> None:
    by_argument = read_settings([*NEEDED, "--also", "x=/a", "--also", "y=/b=c"], {})
    assert by_argument.models == {"ranker": Path("b"), "x": Path("/a"), "y": Path("/b=c")}
    assert read_settings(NEEDED, {"SIGHTLINE_TRANSFORMER_ALSO": "x=/a y=/b=c"}).models == by_argument.models


def test_all_faults_are_told_at_once() -> None:
    with pytest.raises(SettingsError) as raised:
        read_settings(["--http_port", "0", "--also", "nameless", "--max_candidates", "5000"], {})
    text = str(raised.value)
    assert "bundle: is missing; give --bundle" in text
    assert "store: is missing" in text
    assert "predictor_host: is missing" in text
    assert "http_port: is '0'" in text
    assert "max_candidates: is '5000'" in text
    assert "also: is 'nameless'; expected NAME=FOLDER" in text


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (["--workers", "4"], "scale by replicas"),
        (["--also", "ranker=/x"], "named twice"),
        (["--grpc_port", "8080"], "expected two ports"),
        (["--predictor_protocol", "v1"], "grpc-v2"),
        (["--model_name", "a/b"], "model_name"),
        (["--store", "redis://:secret@items:6379/0"], "store: .*set SIGHTLINE_STORE_PASSWORD"),
        (["--store", "memcached://items"], "expected a folder, redis://"),
        (["--predictor_request_timeout_seconds", "nan"], "predictor_request_timeout_seconds"),
        (["--assignments", "configmap://shop"], "assignments: .*expected configmap://namespace/name"),
        (["--assignments", "redis://:secret@redis:6379"], "assignments: .*set SIGHTLINE_STORE_PASSWORD"),
        (["--exposures", "file:///tmp/x"], "there are none without an experiment; give --assignments"),
        (["--exposures", "kafka://x", "--assignments", "a"], "exposures: .*cannot be read as an address"),
        (["--candidate_timeout_seconds", "2"], "candidate_timeout_seconds is 2; expected less than"),
        (["--also", "ids=s3://b/x"], "'s3://b/x' is a URI; expected a path of this machine"),
        (["--missing_file", "s3://b/x"], "missing_file: 's3://b/x' is a URI"),
        (["--arm_header", "X-Arm"], "arm_header"),
        (["--arm_header", "x-arm-bin"], "choose another"),
    ],
)
def test_settings_that_cannot_work_are_refused(more: list[str], says: str) -> None:
    with pytest.raises(SettingsError, match=says):
        read_settings([*NEEDED, *more], {})


def test_a_misspelt_variable_is_refused() -> None:
    with pytest.raises(SettingsError, match="SIGHTLINE_TRANSFORMER_HTP_PORT: there is no setting 'htp_port'"):
        read_settings(NEEDED, {"SIGHTLINE_TRANSFORMER_HTP_PORT": "1"})


def test_a_misspelt_or_shortened_argument_ends_the_program(capsys: pytest.CaptureFixture[str]) -> None:
    for argument in ("--http_prt", "--http"):
        with pytest.raises(SystemExit):
            read_settings([*NEEDED, argument, "1"], {})
        assert argument in capsys.readouterr().err


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "serving.transformer.run", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, env={**os.environ})


def test_wrong_settings_end_the_process_with_code_2() -> None:
    ended = run("--bundle", "b")
    assert ended.returncode == 2
    assert "store: is missing; give --store" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_bundle_that_is_none_ends_the_process_with_code_1(tmp_path: Path) -> None:
    ended = run("--bundle", str(tmp_path), "--store", str(tmp_path), "--predictor_host", "127.0.0.1:1")
    assert ended.returncode == 1
    assert "cannot start" in ended.stderr
    assert "manifest.json" in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize("key", ["", "fourteen bytes"])
def test_exposures_without_a_key_of_pseudonyms_end_the_process_before_it_serves(
    key: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ids_only: Any
) -> None:
    monkeypatch.setenv("SIGHTLINE_PSEUDONYM_KEY", key)
    needed = ("--bundle", str(ids_only.path), "--store", str(tmp_path), "--predictor_host", "127.0.0.1:1")
    ended = run(*needed, "--assignments", str(tmp_path / "book.json"), "--exposures", f"file://{tmp_path}/exposures")
    assert ended.returncode == 1
    assert f"SIGHTLINE_PSEUDONYM_KEY has {len(key)} bytes; expected at least 16" in ended.stderr
    assert not key or key not in ended.stderr
    assert not (tmp_path / "exposures").exists()


def test_the_readme_lists_every_setting_with_its_default() -> None:
    rows = dict(re.findall(r"^\| `--(\w+)` \| (.*?) \|", README.read_text(), re.MULTILINE))
    expected = {
        name: "required" if field.is_required() else f"`{field.default}`"
        for name, field in Settings.model_fields.items()
    }
    assert rows == expected


def test_the_readme_lists_every_metric() -> None:
    registry = CollectorRegistry()
    Metrics(registry)
    kinds = {"counter": "_total"}
    names = {family.name + kinds.get(family.type, "") for family in registry.collect()}
    assert set(re.findall(r"^\| `(sightline_\w+)` \|", README.read_text(), re.MULTILINE)) == names
