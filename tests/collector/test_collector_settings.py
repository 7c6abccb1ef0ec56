"""Settings and starts that are refused."""

import os
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from serving.rollout.collector.schema import open_for_writing
from serving.rollout.collector.settings import Settings, SettingsError, read_key, read_settings
from tests.collector.process import KEY, Process, free_port

DEFAULTS = {
    "host": "0.0.0.0",
    "port": 8090,
    "metrics_port": 8091,
    "retention_days": 90,
    "late_seconds": 3600,
    "max_body_bytes": 8 << 20,
    "max_batch": 5000,
    "max_names": 2000,
    "value_ranges": "",
    "max_waiting": 32,
    "max_connections": 1000,
    "max_events_per_second": 5000,
    "evidence_seconds": 300,
    "grace_seconds": 20,
    "tls_certificate": None,
    "tls_key": None,
}


def test_defaults_are_the_promised_ones() -> None:
    settings = read_settings(["--database", "/data"], {})
    assert settings.model_dump() == {"database": Path("/data"), **DEFAULTS}


def test_arguments_come_before_the_environment() -> None:
    environment = {"SIGHTLINE_COLLECTOR_DATABASE": "/env", "SIGHTLINE_COLLECTOR_PORT": "8093"}
    settings = read_settings(["--port", "8092"], environment)
    assert (settings.database, settings.port) == (Path("/env"), 8092)


@pytest.mark.parametrize(
    ("argv", "environment", "words"),
    [
        ([], {}, "database: is missing; give --database"),
        (["--database", "d", "--retention-days", "0"], {}, "retention_days: is '0'"),
        (["--database", "d", "--retention-days", "1", "--late-seconds", "90000"], {}, "none would be late"),
        (["--database", "d", "--metrics-port", "8090"], {}, "metrics_port: is 8090, the port of events too"),
        (["--database", "d", "--value-ranges", "buy"], {}, "value_ranges: 'buy' has no two numbers; expected EVENT="),
        (["--database", "d", "--value-ranges", "buy=1:0"], {}, "value_ranges: 'buy=1:0' is not a range"),
        (["--database", "d", "--value-ranges", "buy=0:inf"], {}, "'buy=0:inf' is not a range; expected finite"),
        (["--database", "d", "--value-ranges", "buy=0:nan"], {}, "'buy=0:nan' is not a range"),
        (["--database", "d", "--value-ranges", "Buy it=0:1"], {}, "'Buy' names no event"),
        (["--database", "d", "--value-ranges", "buy=0:1 buy=0:2"], {}, "'buy=0:2' is a second range of buy"),
        (["--database", "s3://b/x"], {}, "database: 's3://b/x' is a URI; expected a path of this machine"),
        (["--database", "d"], {"SIGHTLINE_COLLECTOR_PROT": "1"}, "no setting 'prot'"),
    ],
)
def test_wrong_settings_are_named(argv: list[str], environment: dict[str, str], words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        read_settings(argv, environment)


def test_secrets_come_from_the_environment_and_are_never_told() -> None:
    assert read_key({"SIGHTLINE_PSEUDONYM_KEY": KEY}) == KEY.encode()
    assert read_settings(["--database", "d"], {"SIGHTLINE_COLLECTOR_OUTCOMES_TOKEN": "0123456789abcdef"})
    with pytest.raises(SettingsError, match="has 9 bytes; expected at least 16") as told:
        read_key({"SIGHTLINE_PSEUDONYM_KEY": "too short"})
    assert "too short" not in str(told.value)


def run(process: Process) -> "subprocess.CompletedProcess[str]":
    environment = process.environment()
    return subprocess.run(process.command(), capture_output=True, text=True, env=environment, timeout=60)


def test_a_start_without_key_is_refused(tmp_path: Path) -> None:
    refused = run(Process(tmp_path, free_port(), environ={"SIGHTLINE_PSEUDONYM_KEY": "short"}))
    assert refused.returncode == 2
    assert "SIGHTLINE_PSEUDONYM_KEY" in refused.stderr


def test_a_second_process_on_the_database_is_refused_by_name(collector: Any) -> None:
    first = collector()
    second = run(Process(first.folder, free_port()))
    assert second.returncode == 1
    assert f"is in use by process {first.process.pid}" in second.stderr
    taken = run(Process(first.folder / "other", first.port))
    assert taken.returncode == 1
    assert "choose another --port" in taken.stderr


def made(folder: Path) -> Process:
    """A process that has not started, with a database."""
    process = Process(folder, free_port())
    process.database.mkdir()
    open_for_writing(process.database, KEY.encode()).close()
    return process


def test_another_key_is_refused(tmp_path: Path) -> None:
    process = made(tmp_path)
    process.environ = {"SIGHTLINE_PSEUDONYM_KEY": "another key, long enough"}
    refused = run(process)
    assert refused.returncode == 1
    assert "made with another pseudonym key" in refused.stderr


@pytest.mark.parametrize("kind", ["damaged", "foreign", "newer", "cut"])
def test_a_database_that_cannot_be_used_is_refused_and_left_alone(tmp_path: Path, kind: str) -> None:
    first = made(tmp_path)
    path = first.database / "events.sqlite3"
    if kind == "damaged":
        path.write_bytes(b"no database" * 1000)
    elif kind == "cut":
        os.truncate(path, 8192)
    elif kind == "foreign":
        path.unlink()
        with closing(sqlite3.connect(path)) as other:
            other.execute("CREATE TABLE theirs (x)")
    else:
        with closing(sqlite3.connect(path, isolation_level=None)) as newer:
            newer.execute("UPDATE meta SET value = 3 WHERE name = 'format'")
    before = path.read_bytes()
    refused = run(first)
    assert refused.returncode == 1
    words = {"damaged": "not a database", "foreign": "another program's", "newer": "has format 3", "cut": "malformed"}
    assert words[kind] in refused.stderr
    assert path.read_bytes() == before


def test_every_setting_is_in_the_readme() -> None:
    text = (Path(__file__).parents[2] / "serving/rollout/collector/README.md").read_text()
    missing = [name for name in Settings.model_fields if f"`--{name.replace('_', '-')}`" not in text]
    assert missing == []
