"""The captioner starts with two fifths of a core, as beside other builds: Ray's own limits are for quiet machines."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

SHARE, PERIOD = 40_000, 100_000  # microseconds; a quarter was enough here, and Ray's daemons have 30 s of it
ROOT = Path(__file__).parents[2]


def _limited(group: Path) -> Path:
    """A control group with two fifths of a core, of either version; its file that takes processes."""
    group.mkdir()
    if (group / "cpu.cfs_quota_us").exists():
        (group / "cpu.cfs_period_us").write_text(str(PERIOD))
        (group / "cpu.cfs_quota_us").write_text(str(SHARE))
    else:
        (group / "cpu.max").write_text(f"{SHARE} {PERIOD}")
    return group / "cgroup.procs"


@pytest.fixture
def slow() -> Iterator[Path]:
    """Where a process writes its number to become slow."""
    tops = [each for each in (Path("/sys/fs/cgroup/cpu"), Path("/sys/fs/cgroup")) if (each / "cgroup.procs").exists()]
    group = (tops or [Path("/nowhere")])[0] / f"sightline-slow-{os.getpid()}"
    try:
        processes = _limited(group)
    except OSError as error:
        pytest.skip(f"needs root and control groups of CPU: {error}")
    yield processes
    for _ in range(200):  # the kernel takes a moment to forget the last process
        try:
            group.rmdir()
            return
        except OSError:
            time.sleep(0.1)


@pytest.mark.timeout(900)
def test_a_captioner_with_two_fifths_of_a_core_starts(slow: Path, free_port: int, tmp_path: Path) -> None:
    program = f"echo $$ > {slow} && exec {sys.executable} -m serving.captioner.run --host 127.0.0.1 --port {free_port}"
    log = tmp_path / "log"
    with log.open("wb") as told:
        server = subprocess.Popen(["sh", "-c", program], cwd=ROOT, stdout=told, stderr=told)
    try:
        for _ in range(600):
            assert server.poll() is None, log.read_text()[-3000:]
            try:
                if httpx.get(f"http://127.0.0.1:{free_port}/-/healthz", timeout=5, trust_env=False).status_code == 200:
                    break
            except httpx.HTTPError:
                time.sleep(1)
        else:
            pytest.fail(f"it did not start: {log.read_text()[-3000:]}")
    finally:
        server.terminate()
        server.wait(300)
