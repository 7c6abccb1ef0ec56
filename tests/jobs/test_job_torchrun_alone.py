"""What the launcher does when another machine's launcher never comes."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from models.termination import EXIT_INTERRUPTED

WHO_AM_I = """
import json, os
print(json.dumps({name: os.environ.get(name) for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR")}))
raise SystemExit(42)
"""


def launched(folder: Path, node_rank: int) -> subprocess.CompletedProcess[str]:
    (folder / "who_am_i.py").write_text(WHO_AM_I)
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    place = ["--nnodes=2", "--nproc-per-node=1", f"--node-rank={node_rank}", "--max-restarts=0"]
    meeting = ["--master-addr=127.0.0.1", f"--master-port={port}", "--rdzv-conf=timeout=3,read_timeout=3"]
    return subprocess.run(
        [sys.executable, "-m", "training.job_torchrun", *place, *meeting, "-m", "who_am_i"],
        env={**os.environ, "PYTHONPATH": f"{folder}:{os.getcwd()}"},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


@pytest.mark.timeout(120)
def test_the_first_process_goes_on_without_launchers_and_its_exit_code_counts(tmp_path: Path) -> None:
    ended = launched(tmp_path, node_rank=0)
    assert ended.returncode == 42, ended.stderr
    said = json.loads(ended.stdout.splitlines()[-1])
    assert said == {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1"}


@pytest.mark.timeout(120)
def test_any_other_process_is_interrupted(tmp_path: Path) -> None:
    ended = launched(tmp_path, node_rank=1)
    assert ended.returncode == EXIT_INTERRUPTED, ended.stderr
    assert ended.stdout == ""
