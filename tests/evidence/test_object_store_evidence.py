"""Events in S3, served by moto on loopback: what is allowed is read, new files are seen, faults say what they are."""

from pathlib import Path

import pytest
import s3fs

from serving.rollout.evidence.sql import SqlSource
from serving.rollout.experiment.evidence import EvidenceError
from serving.rollout.experiment.spec import SqlEvidence
from tests.evidence.drawn import drawn, expected, of_parquet, query


def test_events_are_read_from_an_allowed_folder_of_a_bucket(tmp_path: Path, s3_files: s3fs.S3FileSystem) -> None:
    events = drawn(1, whole=True)
    of_parquet(tmp_path, events)
    s3_files.mkdir("site")
    given = SqlEvidence(
        kind="users",
        exposures="s3://site/log/exposures*.parquet",
        outcomes="SELECT * FROM read_parquet('s3://site/log/outcomes.parquet')",
    )
    source = SqlSource(given, folders=["s3://site/log"])
    with pytest.raises(EvidenceError, match="No files found"):
        source.evidence(query())
    for name in ("exposures", "outcomes"):
        s3_files.put(f"{tmp_path}/{name}.parquet", f"site/log/{name}.parquet")
    assert source.evidence(query()) == expected(events, query())
    with pytest.raises(EvidenceError, match="Cannot access file"):
        SqlSource(given, folders=["s3://site/other"]).evidence(query())


def test_a_store_that_is_away_or_unknown_says_so(s3_files: s3fs.S3FileSystem, monkeypatch: pytest.MonkeyPatch) -> None:
    given = SqlEvidence(query="FROM read_parquet('s3://site/sums.parquet')")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://localhost:1")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    with pytest.raises(EvidenceError, match=r"the query of sums: .*Could not connect") as away:
        SqlSource(given, folders=["s3://site"]).evidence(query())
    assert "Traceback" not in str(away.value)
    with pytest.raises(EvidenceError, match=r"folders of nothing:// cannot be read: .*; install its fsspec driver"):
        SqlSource(given, folders=["nothing://x"]).evidence(query())
