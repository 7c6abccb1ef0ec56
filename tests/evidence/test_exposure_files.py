"""Files of the transformer's sink, read as they are and made Parquet; the README's snippet; users' own ids."""

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest

from models.experiments.events import Exposure, pseudonym
from serving.rollout.evidence.parquet import convert, main
from serving.rollout.evidence.sql import SqlSource
from serving.rollout.experiment.evidence import EvidenceError, EvidenceQuery
from serving.rollout.experiment.spec import Aggregate, Column, SqlEvidence
from serving.transformer.exposures.folder_sink import FolderSink
from serving.transformer.exposures.sink import Line

KEY = b"a key of pseudonyms"
START = 1_700_000_000.0
CLICKS = Column(event="click", aggregate=Aggregate.COUNT)


def exposure(number: int, **changed: Any) -> Exposure:
    values: dict[str, Any] = {
        "id": f"x{number}",
        "time": START + number,
        "experiment": "captions",
        "uid": "u-1",
        "revision": 1,
        "user": pseudonym(KEY, f"user-{number}"),
        "arm": ("stable", "candidate")[number % 2],
        "served": "stable",
        "model": "ranker",
        "bundle_id": "sha256:0",
        "contract_digest": "sha256:1",
        "candidates": 10,
        "captioned": number % 3,
        "seconds": 0.01,
        "items": ("ä", "b"),
        "scores": (0.5, 0.25),
    }
    return Exposure.model_validate(values | changed)


def write(folder: Path, *exposures: Exposure, close: bool = True) -> None:
    sink = FolderSink(folder, seconds=3600, size=1 << 30)
    sink.write([Line(each.id, each.time, each.model_dump_json().encode()) for each in exposures])
    if close:
        sink.close()


def query() -> EvidenceQuery:
    return EvidenceQuery(
        experiment="captions",
        uid="u-1",
        arms=("stable", "candidate"),
        columns=(CLICKS,),
        before=(),
        window=timedelta(hours=1),
        before_span=timedelta(0),
        as_of=datetime.fromtimestamp(START + 86_400, UTC),
    )


def outcomes(folder: Path) -> str:
    duckdb.sql(
        "COPY (SELECT 'o' || i AS id, 1700000000 + i + 60 AS time, 'user-' || i AS user_id, 'click' AS event "
        f"FROM range(10) t(i)) TO '{folder}/outcomes.parquet'"
    )
    return f"SELECT id, time, pseudonym(user_id) AS \"user\", event FROM '{folder}/outcomes.parquet'"


def test_files_as_the_sink_writes_them_join_with_users_own_ids(tmp_path: Path) -> None:
    write(tmp_path, *(exposure(number) for number in range(20)))
    write(tmp_path, *(exposure(number, fallback="timeout") for number in range(20, 25)), close=False)
    given = SqlEvidence(kind="users", exposures=f"{tmp_path}/*.jsonl*", outcomes=outcomes(tmp_path))
    found = SqlSource(given, folders=[str(tmp_path)], key=KEY).evidence(query())
    assert found.exposed == {"stable": 13, "candidate": 12}
    assert {arm: each.sums for arm, each in found.moments.items()} == dict.fromkeys(found.moments, (5 << 1074,))
    assert found.triggered["stable"].count == sum(number % 3 > 0 for number in range(0, 25, 2))
    with pytest.raises(EvidenceError, match="Scalar Function with name pseudonym does not exist"):
        SqlSource(given, folders=[str(tmp_path)]).evidence(query())


def test_lines_become_parquet_with_everything_in_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = [exposure(number, fallback=None if number else "timeout", degraded=("items",)) for number in range(9)]
    write(tmp_path, *given)
    write(tmp_path, *given[:2])  # sent again
    (tmp_path / "cut.jsonl.part").write_bytes(given[3].model_dump_json().encode() + b'\n{"id":"cut')
    out = tmp_path / "archive" / "exposures.parquet"
    assert main([f"{tmp_path}/*.jsonl*", str(out)]) == 0
    assert "9 exposures" in capsys.readouterr().out
    rows = duckdb.sql(f"FROM '{out}'")
    found = [Exposure.model_validate(dict(zip(rows.columns, row, strict=True))) for row in rows.fetchall()]
    assert found == given
    assert [path.name for path in out.parent.iterdir()] == ["exposures.parquet"]
    by_lines, by_parquet = (
        SqlSource(
            SqlEvidence(kind="users", exposures=path, outcomes=outcomes(tmp_path)), folders=[str(tmp_path)], key=KEY
        ).evidence(query())
        for path in (f"{tmp_path}/*.jsonl*", str(out))
    )
    assert by_lines.moments == by_parquet.moments


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('{"id": "a"}\n', "1 lines are no exposures"),
        ("x\ny\n", "2 lines are no exposures; expected at most one, cut by a crash"),
        ("", "there is no exposure in it"),
    ],
)
def test_what_is_no_exposure_is_refused_and_leaves_nothing(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "a.jsonl").write_text(text)
    with pytest.raises(EvidenceError, match=says):
        convert(f"{tmp_path}/a.jsonl", tmp_path / "out.parquet")
    assert [path.name for path in tmp_path.iterdir()] == ["a.jsonl"]


def test_one_id_for_two_exposures_and_a_file_that_exists_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path, exposure(1), exposure(2, id="x1"))
    with pytest.raises(EvidenceError, match="1 ids belong to different exposures"):
        convert(f"{tmp_path}/*.jsonl", tmp_path / "out.parquet")
    (tmp_path / "there.parquet").touch()
    assert main([f"{tmp_path}/*.jsonl", str(tmp_path / "there.parquet")]) == 1
    assert "exists already" in capsys.readouterr().err
    assert main([f"{tmp_path}/none*.jsonl", str(tmp_path / "out.parquet")]) == 1
    assert "No files found" in capsys.readouterr().err
    assert main([]) == 2


def test_the_readmes_snippet_works(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = (Path(__file__).parents[2] / "serving/rollout/evidence/README.md").read_text()
    (snippet,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    write(tmp_path / "exposures", *(exposure(number) for number in range(4)))
    (tmp_path / "outcomes.jsonl").write_text(
        f'{{"id": "o1", "time": {START + 9}, "user": "{exposure(1).user}", "event": "click"}}\n'
    )
    exec(compile(snippet.replace("/data", str(tmp_path)), "README.md", "exec"), {})
    assert "{'stable': 2, 'candidate': 2} {'stable': (2, array([0., 0.])), 'candidate': (2, array([0.5, 0. ]))}" in (
        capsys.readouterr().out
    )
