"""Level and form of what programs log, by two variables; and that each program obeys them."""

import json
import logging
import subprocess
import sys
from pathlib import Path

import pytest

from models.logs import JsonFormatter, Logs, LogsError, read_logs
from serving.ranker.command import TritonCommand
from training.job_say import Told

PROGRAMS = {
    "serving.transformer.run": "the transformer's settings cannot be used",
    "serving.ranker.run": "the ranker's settings cannot be used",
    "serving.captioner.run": "SIGHTLINE_LOG_LEVEL",
    "serving.rollout.collector.run": "the collector's settings cannot be used",
    "serving.rollout.operator.run": "the operator's settings cannot be used",
    "serving.rollout.verdict.run": "the verdict service's settings cannot be used",
}


def test_what_is_not_said_is_info_as_text() -> None:
    assert read_logs({}) == read_logs({"SIGHTLINE_LOG_LEVEL": "", "SIGHTLINE_LOG_FORMAT": ""}) == Logs("info", "text")
    assert read_logs({"SIGHTLINE_LOG_LEVEL": "Warning", "SIGHTLINE_LOG_FORMAT": "JSON"}) == Logs("warning", "json")


def test_a_library_that_says_much_is_heard_when_debugging_alone() -> None:
    levels = [Logs(level).at_least(logging.WARNING) for level in ("debug", "info", "warning", "error")]
    assert levels == [logging.DEBUG, logging.WARNING, logging.WARNING, logging.ERROR]


@pytest.mark.parametrize(
    ("variable", "value", "expected"),
    [
        ("SIGHTLINE_LOG_LEVEL", "loud", "SIGHTLINE_LOG_LEVEL: is 'loud'; expected one of debug, info, warning, error"),
        ("SIGHTLINE_LOG_FORMAT", "xml", "SIGHTLINE_LOG_FORMAT: is 'xml'; expected one of text, json"),
    ],
)
def test_another_value_is_refused(variable: str, value: str, expected: str) -> None:
    with pytest.raises(LogsError) as refused:
        read_logs({variable: value})
    assert str(refused.value) == expected


@pytest.mark.parametrize("module", PROGRAMS)
def test_every_program_refuses_it(module: str) -> None:
    command = [sys.executable, "-m", module, *(["--bundle=x"] if module == "serving.ranker.run" else [])]
    environment = {"SIGHTLINE_LOG_LEVEL": "loud", "PATH": "/usr/bin:/bin", "HOME": "/nonexistent"}
    root = Path(__file__).parents[2]
    done = subprocess.run(command, env=environment, cwd=root, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 2, done.stderr
    assert PROGRAMS[module] in done.stderr
    assert "SIGHTLINE_LOG_LEVEL: is 'loud'; expected one of" in done.stderr


def test_a_record_as_json_is_one_line_whatever_is_in_it() -> None:
    record = logging.LogRecord("sightline.x", logging.ERROR, "f", 1, "a\n%s \x1b[31m", ("\u202ecaption",), None)
    try:
        raise ValueError("line\nbreak")
    except ValueError:
        record.exc_info = sys.exc_info()
    text = JsonFormatter().format(record)
    assert text.isprintable()
    said = json.loads(text)
    assert (said["level"], said["logger"], said["message"]) == ("error", "sightline.x", "a\n\u202ecaption \x1b[31m")
    assert said["exception"].endswith("ValueError: line\nbreak")
    assert said["time"].endswith("+00:00")


def test_a_jobs_lines_are_objects_where_that_is_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    told = Told(clock=iter((0.0, 2.5)).__next__, form="json")
    told.say("captions read\n")
    said = json.loads(capsys.readouterr().out)
    assert (said["message"], said["seconds"], said["logger"]) == ("captions read\n", 2.5, "sightline.job")


def test_triton_logs_as_much_as_is_asked_for(tmp_path: Path) -> None:
    def flags(level: str) -> set[str]:
        argv = TritonCommand(tmp_path, 1, 2, 3, tmp_path, log_level=level).argv
        return {word for word in argv if word.startswith("--log-")} - {"--log-format=ISO8601"}

    assert flags("info") == set()
    assert flags("debug") == {"--log-verbose=1"}
    assert flags("error") == {"--log-info=false", "--log-warning=false"}
