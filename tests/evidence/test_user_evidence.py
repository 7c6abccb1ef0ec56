"""Exposures and outcomes joined by SQL, beside plain Python, user by user: equal to the last bit."""

import dataclasses
import json
import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest

from serving.rollout.evidence import exact_totals
from serving.rollout.evidence.sql import SqlSource
from serving.rollout.experiment.evidence import Day, Evidence, EvidenceError, EvidenceQuery, Quality
from serving.rollout.experiment.spec import Aggregate, Column, SqlEvidence
from serving.rollout.statistics.moments import Moments

START = 1_700_000_000.0
DAY = 86_400.0
CLICKS = Column(event="click", aggregate=Aggregate.COUNT)
SPENT = Column(event="spend", aggregate=Aggregate.SUM)
VISITED = Column(event="visit", aggregate=Aggregate.ANY)
RANKINGS = Column(event="exposure", aggregate=Aggregate.COUNT)
Event = dict[str, Any]


@dataclass
class Events:
    exposures: list[Event] = field(default_factory=list)
    outcomes: list[Event] = field(default_factory=list)


def query(**changed: Any) -> EvidenceQuery:
    values: dict[str, Any] = {
        "experiment": "captions",
        "uid": "u-1",
        "arms": ("stable", "candidate"),
        "columns": (CLICKS, SPENT, VISITED, RANKINGS),
        "before": (CLICKS, SPENT),
        "window": timedelta(days=1),
        "before_span": timedelta(days=3),
        "as_of": datetime.fromtimestamp(START + 5 * DAY, UTC),
    }
    return EvidenceQuery(**(values | changed))


def drawn(seed: int, *, whole: bool, users: int = 60) -> Events:
    """Users of both arms, a few of whom switch; repeats, strangers, other experiments, edges of windows."""
    draw = np.random.default_rng(seed)
    made = Events()

    def expose(user: int, time: float, arm: str, uid: str = "u-1") -> None:
        made.exposures.append(
            {
                "id": f"x{len(made.exposures)}",
                "time": time,
                "experiment": "captions",
                "uid": uid,
                "user": f"{user:032x}",
                "arm": arm,
                "captioned": int(draw.integers(0, 3)),
            }
        )

    for user in range(users):
        arm, first = str(draw.choice(["stable", "candidate"])), START + float(draw.integers(0, int(6 * DAY)))
        expose(user, first, arm)
        for _ in range(draw.poisson(1)):
            later = "candidate" if draw.random() < 0.03 else arm
            expose(user, first + float(draw.choice([0, 1, DAY - 1, DAY, draw.integers(0, 200_000)])), later)
        if draw.random() < 0.1:
            expose(user, first - DAY, "candidate", uid="u-0")
        _act(made, draw, user, first, whole)
    for user in range(users, users + 10):
        _act(made, draw, user, START + float(draw.integers(0, int(6 * DAY))), whole)
    for events in (made.exposures, made.outcomes):
        events += [dict(events[at]) for at in draw.integers(0, len(events), 5)]
        draw.shuffle(events)  # type: ignore[arg-type]
    return made


def _act(made: Events, draw: np.random.Generator, user: int, first: float, whole: bool) -> None:
    for _ in range(draw.poisson(6)):
        offset = float(draw.choice([0, -1, DAY, DAY - 1, -3 * DAY, -3 * DAY - 1, *draw.integers(-400_000, 200_000, 6)]))
        made.outcomes.append(
            {
                "id": f"o{len(made.outcomes)}",
                "time": first + offset,
                "user": f"{user:032x}",
                "event": str(draw.choice(["click", "spend", "visit", "other"])),
                "value": float(draw.integers(-5, 50)) if whole else float(draw.lognormal(0, 3)),
                "received": first + offset + float(draw.choice([1, 2 * DAY])),
            }
        )


def expected(events: Events, asked: EvidenceQuery) -> Evidence:
    """User by user."""
    now, window, before = asked.as_of.timestamp(), asked.window.total_seconds(), asked.before_span.total_seconds()
    exposures = list({each["id"]: each for each in events.exposures}.values())
    ours = [e for e in exposures if e["uid"] == asked.uid and e["arm"] in asked.arms and e["time"] <= now]
    of_user: dict[str, list[Event]] = defaultdict(list)
    for each in ours:
        of_user[each["user"]].append(each)
    repeats = sum(e["uid"] == asked.uid and e["arm"] in asked.arms and e["time"] <= now for e in events.exposures)
    began = min((each["time"] for each in ours), default=now)
    wanted = {column.event for column in (*asked.columns, *asked.before)}
    relevant = [o for o in events.outcomes if o["event"] in wanted and began - before <= o["time"] <= now]
    outcomes = list({each["id"]: each for each in relevant}.values())
    switched = {user for user, mine in of_user.items() if len({each["arm"] for each in mine}) > 1}
    rows: dict[tuple[str, date, bool], list[list[float]]] = defaultdict(list)
    names = [c.name for c in asked.columns] + [c.before for c in asked.before]
    late, capped = 0, dict.fromkeys(asked.caps, 0)
    for user, mine in of_user.items():
        first = min(mine, key=lambda each: (each["time"], -each["captioned"]))
        if user in switched or first["time"] + window > now:
            continue
        theirs = [o for o in outcomes if o["user"] == user]
        inside = [o for o in theirs if first["time"] <= o["time"] < first["time"] + window]
        earlier = [o for o in theirs if first["time"] - before <= o["time"] < first["time"]]
        seen = [e for e in mine if first["time"] <= e["time"] < first["time"] + window]
        inside += [{"event": "exposure", "value": 1.0, "received": 0.0} for _ in seen]
        late += sum(o["received"] > first["time"] + window for o in inside)
        numbers = [_number(c, inside) for c in asked.columns] + [_number(c, earlier) for c in asked.before]
        for name, cap in asked.caps.items():
            at = names.index(name)
            capped[name] += numbers[at] > cap
            numbers[at] = min(numbers[at], cap)
        day = datetime.fromtimestamp(first["time"], UTC).date()
        rows[first["arm"], day, first["captioned"] > 0].append(numbers)

    def moments(arm: str, day: date | None = None, triggered: bool = False) -> Moments:
        parts = [r for (a, d, t), r in rows.items() if a == arm and day in (None, d) and (t or not triggered)]
        users = [row for part in parts for row in part]
        return Moments.of({name: [row[at] for row in users] for at, name in enumerate(names)})

    return Evidence(
        as_of=asked.as_of,
        exposed={arm: sum(m[0]["arm"] == arm for u, m in of_user.items() if u not in switched) for arm in asked.arms},
        moments={arm: moments(arm) for arm in asked.arms},
        triggered={arm: moments(arm, triggered=True) for arm in asked.arms},
        days=tuple(Day(d, {arm: moments(arm, d) for arm in asked.arms}) for d in sorted({day for _, day, _ in rows})),
        quality=Quality(
            duplicates=repeats - len(ours) + len(relevant) - len(outcomes),
            late=late,
            unmatched=sum(o["time"] >= began and o["user"] not in of_user for o in outcomes) if ours else 0,
            switched=len(switched),
            capped=capped,
        ),
    )


def _number(column: Column, events: Sequence[Event]) -> float:
    values = [each["value"] for each in events if each["event"] == column.event]
    match column.aggregate:
        case Aggregate.SUM:
            return math.fsum(values)
        case Aggregate.COUNT:
            return float(len(values))
    return float(bool(values))


def write_lines(path: Path, rows: Sequence[Event]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def of_lines(folder: Path, events: Events) -> SqlEvidence:
    half = len(events.exposures) // 2
    write_lines(folder / "exposures-1.jsonl", events.exposures[:half])
    part = folder / "exposures-2.jsonl.part"
    write_lines(part, events.exposures[half:])
    part.write_text(part.read_text() + '{"id":"cut","ti')
    return SqlEvidence(
        kind="users",
        exposures=f"{folder}/exposures-*.jsonl*",
        outcomes=write_lines(folder / "outcomes.jsonl", events.outcomes),
    )


def of_parquet(folder: Path, events: Events) -> SqlEvidence:
    for name, rows in (("exposures", events.exposures), ("outcomes", events.outcomes)):
        lines = write_lines(folder / f"{name}.jsonl", rows)
        duckdb.sql(f"COPY (SELECT * FROM read_json('{lines}')) TO '{folder}/{name}.parquet'")
    return SqlEvidence(kind="users", exposures=f"{folder}/exposures.parquet", outcomes=f"{folder}/outcomes.parquet")


def of_csv(folder: Path, events: Events) -> SqlEvidence:
    given = of_parquet(folder, events)
    duckdb.sql(f"COPY (FROM '{folder}/outcomes.parquet') TO '{folder}/outcomes.csv'")
    return given.model_copy(update={"outcomes": f"{folder}/outcomes.csv"})


def of_tables(folder: Path, events: Events) -> SqlEvidence:
    """As a warehouse has them: other names, times of a calendar, a table and a SELECT."""
    of_parquet(folder, events)
    with duckdb.connect(f"{folder}/site.duckdb") as connection:
        connection.execute(f"CREATE SCHEMA log; CREATE TABLE log.shown AS FROM '{folder}/exposures.parquet'")
        connection.execute(
            "CREATE TABLE acts AS SELECT id AS act, make_timestamp(CAST(time * 1e6 AS BIGINT)) AS moment, user AS who, "
            f"event, value, make_timestamp(CAST(received * 1e6 AS BIGINT)) AS received FROM '{folder}/outcomes.parquet'"
        )
    return SqlEvidence(
        kind="users",
        database=f"{folder}/site.duckdb",
        exposures="log.shown",
        outcomes='SELECT act AS id, moment AS time, who AS "user", event, value, received FROM acts -- all of them\n;',
    )


FORMS = {"lines": of_lines, "parquet": of_parquet, "csv": of_csv, "tables": of_tables}


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
                [_number(column, [e for e in (*inside["outcomes"], *shown) if e["user"] == user]) for user in everyone],
                share,
                method="higher",
            )
        )
        for column, share in ((SPENT, 0.9), (CLICKS, 0.99), (RANKINGS, 0.95), (VISITED, 0.5))
    }
    source = SqlSource(given, folders=[str(tmp_path)])
    times = tuple(datetime.fromtimestamp(each, UTC) for each in span)
    assert source.quantiles({SPENT: 0.9, CLICKS: 0.99, RANKINGS: 0.95, VISITED: 0.5}, times) == want
    with pytest.raises(EvidenceError, match="no numbers to cap by"):
        source.quantiles({SPENT: 0.9}, (times[0] - timedelta(days=900), times[0] - timedelta(days=800)))


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
    assert {arm: (each.count, each.mean()[0]) for arm, each in found.moments.items()} == {
        "stable": (200_000, 1.0),
        "candidate": (200_000, 1.0),
    }


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        (
            {"kind": "users", "exposures": "a"},
            "outcomes is None with kind users; expected exposures and outcomes alone",
        ),
        (
            {"kind": "users", "query": "SELECT 1", "exposures": "a", "outcomes": "b"},
            "query is 'SELECT 1' with kind users",
        ),
        ({}, "query is None with kind sums; expected query alone"),
        ({"query": "SELECT 1", "outcomes": "b"}, "outcomes is 'b' with kind sums"),
    ],
)
def test_the_spec_refuses_what_does_not_belong_together(fields: dict[str, str], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        SqlEvidence(**fields)  # type: ignore[arg-type]


def test_evidence_differs_where_events_differ(tmp_path: Path) -> None:
    """The comparison above is able to fail."""
    events = drawn(50, whole=True)
    want = expected(events, query())
    given = of_parquet(tmp_path, events)
    assert dataclasses.replace(ask(tmp_path, given, query()), exposed={}) != want
    shifted = query(window=timedelta(hours=23))
    assert ask(tmp_path, given, shifted).moments != want.moments
