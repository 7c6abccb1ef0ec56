"""The README's commands and lists against the process."""

import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from serving.rollout.collector.metrics import Metrics
from tests.collector.process import Process

ROOT = Path(__file__).parents[2] / "serving/rollout/collector"
README = (ROOT / "README.md").read_text()


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
def test_the_example_answers_what_it_says(collector: Callable[..., Process]) -> None:
    process = collector()
    (example,) = re.findall(r"```bash\n(.*?)```", README, re.DOTALL)
    promised = re.findall(r"^# (.*)$", example, re.MULTILINE)
    script = example.replace("http://127.0.0.1:8090", process.url)
    environment = {"PATH": os.environ["PATH"], **process.environment()}
    done = subprocess.run(
        ["bash", "-ec", script], capture_output=True, text=True, check=True, timeout=60, env=environment
    )
    assert done.stdout.replace("}{", "}\n{").splitlines() == promised
    assert len(promised) == 2


def test_every_metric_is_listed() -> None:
    registry = CollectorRegistry()
    Metrics(registry)
    names = {metric.name + ("_total" if metric.type == "counter" else "") for metric in registry.collect()}
    assert len(names) >= 8
    assert {name for name in names if f"`{name}" not in README} == set()


def test_every_file_is_listed() -> None:
    files = {path.name for path in ROOT.glob("*.py")} - {"__init__.py"}
    assert len(files) > 15
    assert {name for name in files if f"`{name}`" not in README} == set()
