"""The measurement runs, loses nothing, and refuses what is no address."""

from pathlib import Path

import pytest

from serving.transformer.exposures import bench


def test_a_row_per_address(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "EXPOSURES", 300)
    assert bench.main([f"file://{tmp_path}"]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert "microseconds" in first
    assert "exposures/s" in second
    assert second.endswith("lost 0")
    assert sum(len(path.read_bytes().splitlines()) for path in tmp_path.glob("*.jsonl")) == 300 * 5


def test_what_is_no_address_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert bench.main([]) == 2
    assert bench.main(["ftp://x"]) == 2
    assert "cannot be read as an address" in capsys.readouterr().err
