"""The measurement runs, and counts every user."""

from pathlib import Path

import pytest

from serving.rollout.bench.evidence import main


def test_each_way_sums_all_users(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--users", "3000", "--folder", str(tmp_path), "--memory", "500MB"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("  ")[0] for line in lines] == [
        "sums of a warehouse",
        "users in Parquet, DuckDB",
        "chunks through Moments.of",
    ]
    assert all("3,000 users" in line and "MiB" in line for line in lines)
