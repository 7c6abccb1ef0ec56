"""The load generator of the cluster tests, on the real transformer: what it counts as answered was answered."""

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

PROGRAM = Path(__file__).parents[1] / "e2e" / "e2e_load.py"


def test_every_request_over_rest_and_grpc_is_answered(transformer: Any, tmp_path: Path) -> None:
    stop = tmp_path / "stop"
    command = [sys.executable, str(PROGRAM), "--url", transformer.url, "--grpc", f"127.0.0.1:{transformer.grpc_port}"]
    command += ["--user", "196", "--items", "1,2,13", "--seconds", "60", "--pause", "0.02", "--stop-file", str(stop)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as load:
        time.sleep(3)
        stop.touch()
        printed, _ = load.communicate(timeout=30)
    told = json.loads(printed)
    assert told["stopped"] is True
    for way in ("http", "grpc"):
        assert told["ways"][way]["failures"] == {}
        assert told["ways"][way]["degraded"] == 0
        assert told["ways"][way]["ranked"] > 10


def test_a_transformer_that_goes_away_is_counted(
    stack: Any, triton: Any, with_captions: Any, rows: list[Any], tmp_path: Path
) -> None:
    store, stop = stack.fill(tmp_path / "store", rows[:20]), tmp_path / "stop"
    with stack.running_transformer(tmp_path, with_captions.bundle.path, store, triton.grpc) as running:
        command = [sys.executable, str(PROGRAM), "--url", running.url, "--grpc", f"127.0.0.1:{running.grpc_port}"]
        command += ["--user", "196", "--items", "1,2", "--seconds", "60", "--pause", "0.02", "--stop-file", str(stop)]
        load = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        time.sleep(3)
    time.sleep(1)
    stop.touch()
    printed, _ = load.communicate(timeout=60)
    for told in json.loads(printed)["ways"].values():
        assert told["ranked"] > 10
        assert told["failed"] > 0
