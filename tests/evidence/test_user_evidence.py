"""Exposures and outcomes joined by SQL, beside plain Python, user by user: equal to the last bit."""

import dataclasses
from datetime import UTC, datetime, timedelta
from pathlib import Path

import duckdb
import numpy as np
import pytest

from serving.rollout.evidence import exact_totals
from serving.rollout.evidence.sql import SqlSource
from serving.rollout.experiment.evidence import Evidence, EvidenceError, EvidenceQuery
from serving.rollout.experiment.spec import SqlEvidence
from serving.rollout.statistics.winsor import CapRule
from tests.evidence.drawn import (
    CLICKS,
    DAY,
    FORMS,
    RANKINGS,
    SPENT,
    START,
    VISITED,
    drawn,
    expected,
    number,
    of_lines,
    of_parquet,
    of_tables,
    query,
)


def ask(folder: Path, given: SqlEvidence, asked: EvidenceQuery) -> Evidence:
    return SqlSource(given, folders=[str(folder)], threads=1).evidence(asked)


@pytest.mark.parametrize("form", sorted(FORMS))
@pytest.mark.parametrize("whole", [True, False])
def test_every_form_of_events_gives_what_plain_python_gives(tmp_path: Path, form: str, whole: bool) -> None:
    events = drawn(1, whole=whole, users=200)
    want = expected(events, query())
    assert min(want.moments["stable"].count, want.triggered["candidate"].count, len(want.days)) > 2
    assert min(want.quality.duplicates, want.quality.late, want.quality.unmatched, want.quality.switched) > 0
    assert ask(tmp_path, FORMS[form](tmp_path, events), query()) == want


@pytest.mark.parametrize("seed", range(2, 8))
def test_many_draws_looks_and_caps(tmp_path: Path, seed: int) -> None:
    events = drawn(seed, whole=seed % 2 == 0, users=90)
    given = of_parquet(tmp_path, events)
    caps = {"spend_sum": 7.0, "click_count_before": 1.0, "exposure_count": 1.0}
    for asked in (
        query(),
        query(caps=caps),
        query(as_of=datetime.fromtimestamp(START + 2 * DAY, UTC), window=timedelta(hours=1)),
        query(columns=(RANKINGS,), before=()),
        query(arms=("stable", "other")),
        query(uid="nobody"),
    ):
        assert ask(tmp_path, given, asked) == expected(events, asked)


def test_arrays_and_the_database_sum_alike(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    events = drawn(20, whole=True)
    given = of_parquet(tmp_path, events)
    found = ask(tmp_path, given, query())
    monkeypatch.setattr(exact_totals, "_whole", lambda *_: False)
    monkeypatch.setattr(exact_totals, "CHUNK", 7)
    assert ask(tmp_path, given, query()) == found


def test_large_whole_numbers_are_summed_exactly(tmp_path: Path) -> None:
    events = drawn(21, whole=True)
    for at, each in enumerate(events.outcomes):
        each["value"] = float(2**40 + at)
    seen = {}
    for each in events.outcomes:  # repeats are the same event
        each["value"] = seen.setdefault(each["id"], each["value"])
    assert ask(tmp_path, of_parquet(tmp_path, events), query()) == expected(events, query())


def test_looks_only_add_users(tmp_path: Path) -> None:
    events = drawn(22, whole=False, users=200)
    events.exposures = [e for e in events.exposures if e["id"] != "never"]
    given = of_parquet(tmp_path, events)
    looks = [ask(tmp_path, given, query(as_of=datetime.fromtimestamp(START + hour * 3600, UTC))) for hour in (60, 100)]
    earlier, later = (look.moments["stable"].count for look in looks)
    assert 0 < earlier < later
    days = [{day.day: day.moments["stable"].count for day in look.days} for look in looks]
    assert all(days[1][day] >= count for day, count in days[0].items())


@pytest.mark.parametrize("form", ["lines", "tables"])
def test_quantiles_are_over_everybody_who_did_anything(tmp_path: Path, form: str) -> None:
    events = drawn(30, whole=False, users=100)
    span = (START, START + 3 * DAY)
    given = FORMS[form](tmp_path, events)
    inside = {
        name: [e for e in {r["id"]: r for r in rows}.values() if span[0] <= e["time"] < span[1]]
        for name, rows in (("exposures", events.exposures), ("outcomes", events.outcomes))
    }
    everyone = sorted({each["user"] for rows in inside.values() for each in rows})
    shown = [{**each, "event": "exposure", "value": 1.0} for each in inside["exposures"]]
    want = {
        column.name: float(
            np.quantile(
                [number(column, [e for e in (*inside["outcomes"], *shown) if e["user"] == user]) for user in everyone],
                share,
                method="higher",
            )
        )
        for column, share in ((SPENT, 0.9), (CLICKS, 0.99), (RANKINGS, 0.95), (VISITED, 0.5))
    }
    source = SqlSource(given, folders=[str(tmp_path)])
    times = tuple(datetime.fromtimestamp(each, UTC) for each in span)
    rules = {SPENT: CapRule(0.9), CLICKS: CapRule(0.99), RANKINGS: CapRule(0.95), VISITED: CapRule(0.5)}
    assert want["visit_any"] == 0  # not half of the users: the quantile of those who did is taken
    assert source.quantiles(rules, times).largest == {**want, "visit_any": 1.0}
    empty = source.quantiles({SPENT: CapRule(0.9)}, (times[0] - timedelta(days=900), times[0] - timedelta(days=800)))
    assert (empty.largest, len(empty.notes)) == ({}, 1)


def with_outcomes(folder: Path, outcomes: str) -> SqlEvidence:
    return of_parquet(folder, drawn(40, whole=True)).model_copy(update={"outcomes": outcomes})


@pytest.mark.parametrize(
    ("outcomes", "says"),
    [
        ("SELECT 1 AS id; SELECT 2", "outcomes is 'SELECT 1 AS id; SELECT 2'; expected one SELECT"),
        ("FROM nothing", "outcomes: Catalog Error: Table with name nothing does not exist"),
        ("SELECT 1 FROM (", "outcomes: Parser Error"),
        ("some thing", r"expected files \(/folder/\*.parquet, .jsonl or .csv\), a table's name or a SELECT"),
        ("missing", "Table with name missing does not exist"),
        ("FOLDER/none.parquet", "No files found"),
        ("/etc/passwd.csv", "Cannot access file"),
        ("SELECT * FROM read_text('/etc/passwd')", "Cannot access file"),
        ("SELECT 1 AS id, 2 AS time", r"outcomes has columns \['id', 'time'\]; \['user', 'event'\] must be there too"),
        (
            "SELECT 'a' AS id, 'noon' AS time, 'u' AS user, 'click' AS event",
            "column time of type VARCHAR; expected a TIME",
        ),
        ("SELECT 'a' AS id, 1 AS time, 'u' AS user, 'click' AS event, 'x' AS value", "column value of type VARCHAR"),
        ("SELECT 'a' AS id, NULL::DOUBLE AS time, 'u' AS user, NULL AS event", "1 without time, 1 without event"),
        (
            "SELECT 'a' AS id, 1.7e9 AS time, unnest(['u', 'v']) AS user, 'click' AS event",
            "id 'a' belongs to different events",
        ),
        ("SELECT 'a' AS id, 1.7e9 AS time, 'u' AS user, 'spend' AS event, 'NaN'::DOUBLE AS value", "no finite number"),
        (
            "SELECT 'a' AS id, time + 1 AS time, user, 'spend' AS event, 1e300 AS value "
            "FROM 'FOLDER/exposures.parquet' WHERE uid = 'u-1' LIMIT 1",
            "cannot be summed: a value is 1e\\+300",
        ),
    ],
)
def test_what_cannot_be_read_says_why(tmp_path: Path, outcomes: str, says: str) -> None:
    given = with_outcomes(tmp_path, outcomes.replace("FOLDER", str(tmp_path)))
    with pytest.raises(EvidenceError, match=says):
        ask(tmp_path, given, query(as_of=datetime.fromtimestamp(START + 20 * DAY, UTC)))


def test_a_query_can_neither_write_nor_read_other_folders(tmp_path: Path) -> None:
    for statement in (f"COPY (SELECT 1) TO '{tmp_path}/x.csv'", f"ATTACH '{tmp_path}/x.duckdb'", "SET threads = 1"):
        with pytest.raises(EvidenceError, match=r"expected files|expected one SELECT"):
            ask(tmp_path, with_outcomes(tmp_path, statement), query())
    other = tmp_path / "other"
    other.mkdir()
    with pytest.raises(EvidenceError, match="Cannot access file"):
        ask(other, of_parquet(tmp_path, drawn(1, whole=True)), query())
    of_tables(tmp_path, drawn(1, whole=True))
    with pytest.raises(EvidenceError, match="Cannot access file"):
        ask(other, SqlEvidence(database=f"{tmp_path}/site.duckdb", query="SELECT 1 AS arm"), query())
    assert not list(tmp_path.glob("x*"))


def test_lines_that_are_cut_are_skipped_at_the_end_only(tmp_path: Path) -> None:
    given = of_lines(tmp_path, drawn(41, whole=True))
    part = tmp_path / "exposures-2.jsonl.part"
    part.write_text("not\nJSON\n" + part.read_text())
    with pytest.raises(EvidenceError, match=r"3 lines of .*exposures-2.jsonl.part are no JSON; expected at most one"):
        ask(tmp_path, given, query())


def test_unknown_caps_and_missing_databases_say_so(tmp_path: Path) -> None:
    given = of_parquet(tmp_path, drawn(42, whole=True))
    with pytest.raises(EvidenceError, match=r"caps are given for \['clikc_sum'\]"):
        ask(tmp_path, given, query(caps={"clikc_sum": 1.0}))
    (tmp_path / "file").touch()
    with pytest.raises(EvidenceError, match="no folder for temporary files"):
        SqlSource(given, folders=[], scratch=tmp_path / "file").evidence(query())
    with pytest.raises(EvidenceError, match=r"database .*none.duckdb"):
        ask(tmp_path, given.model_copy(update={"database": str(tmp_path / "none.duckdb")}), query())


def test_a_question_that_takes_too_long_is_ended(tmp_path: Path) -> None:
    endless = "SELECT i::VARCHAR AS id, 1.7e9 AS time, 'u' AS user, 'click' AS event FROM range(1000000000000) t(i)"
    source = SqlSource(with_outcomes(tmp_path, endless), folders=[str(tmp_path)], seconds=0.3)
    with pytest.raises(EvidenceError, match="outcomes took too long and was ended"):
        source.evidence(query())


def test_little_memory_is_made_up_for_on_disk(tmp_path: Path) -> None:
    duckdb.sql(
        "COPY (SELECT 'x' || i AS id, 1.7e9 + i % 1000 AS time, 'u-1' AS uid, md5(i::VARCHAR) AS user, "
        f"if(i % 2 = 0, 'stable', 'candidate') AS arm, 1 AS captioned "
        f"FROM range(400000) t(i)) TO '{tmp_path}/e.parquet'"
    )
    given = SqlEvidence(
        kind="users",
        exposures=f"{tmp_path}/e.parquet",
        outcomes=f"SELECT id, time, user, 'click' AS event FROM '{tmp_path}/e.parquet'",
    )
    scratch = tmp_path / "scratch"
    source = SqlSource(given, folders=[str(tmp_path)], memory="120MB", threads=1, scratch=scratch)
    found = source.evidence(query(columns=(CLICKS,), before=()))
    assert list(scratch.iterdir()) == []
    assert {arm: (each.count, each.mean()[0]) for arm, each in found.moments.items()} == {
        "stable": (200_000, 1.0),
        "candidate": (200_000, 1.0),
    }


@pytest.mark.parametrize(
    "fields",
    [
        {"kind": "users", "exposures": "a"},
        {"kind": "users", "query": "SELECT 1", "exposures": "a", "outcomes": "b"},
        {},
        {"query": "SELECT 1", "outcomes": "b"},
    ],
)
def test_the_spec_refuses_what_does_not_belong_together(fields: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="kind sums takes query alone, kind users takes exposures and outcomes"):
        SqlEvidence(**fields)  # type: ignore[arg-type]


def test_evidence_differs_where_events_differ(tmp_path: Path) -> None:
    """The comparison above is able to fail."""
    events = drawn(50, whole=True)
    want = expected(events, query())
    given = of_parquet(tmp_path, events)
    assert dataclasses.replace(ask(tmp_path, given, query()), exposed={}) != want
    shifted = query(window=timedelta(hours=23))
    assert ask(tmp_path, given, shifted).moments != want.moments
