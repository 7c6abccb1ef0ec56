"""A shard's files on S3, as on a path."""

from pathlib import Path

import pytest

from serving.backfill.errors import BackfillError, PlaceError
from serving.backfill.ledger import Ledger, Record

FIRST, SECOND = Record("a", "a red car", "tiny@1", "p", "0" * 64), Record("b", None, "tiny@1", "p", "1" * 64)


@pytest.mark.parametrize("place", ["path", "s3"])
def test_an_interrupted_run_is_read_again_and_a_finished_one_leaves_its_result(
    place: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    out = str(tmp_path / "out") if place == "path" else f"{request.getfixturevalue('bucket')}/captions"
    Ledger(out, 0, 2).step([FIRST])
    second = Ledger(out, 0, 2)
    assert second.known(again=True) == {"a": FIRST}
    second.step([SECOND])
    third = Ledger(out, 0, 2)
    assert third.known(again=False) == {"a": FIRST, "b": SECOND}
    third.finish([FIRST, SECOND])
    assert Ledger(out, 0, 2).known(again=False) == {"a": FIRST, "b": SECOND}
    assert Ledger(out, 0, 2).known(again=True) == {}, "the steps are gone"
    assert Ledger(out, 1, 2).known(again=False) == {}, "another shard's are not read"


def test_a_bucket_that_is_not_there_and_a_damaged_result_are_told(bucket: str, tmp_path: Path) -> None:
    with pytest.raises(PlaceError, match=r"s3://nowhere/x/progress.* cannot be written"):
        Ledger("s3://nowhere/x", 0, 1).step([FIRST])
    (tmp_path / "captions-0-of-1.parquet").write_bytes(b"no parquet")
    with pytest.raises(BackfillError, match=r"cannot be read .*; remove it"):
        Ledger(str(tmp_path), 0, 1).known(again=False)
    with pytest.raises(BackfillError, match="give a path, or a URI"):
        Ledger("nothing://x", 0, 1)
