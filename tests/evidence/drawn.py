"""Events drawn at random, their evidence in plain Python, user by user, and the forms in which a site has them."""

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

from serving.rollout.experiment.evidence import Arrived, Day, Evidence, EvidenceQuery, Quality
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
            later = "candidate" if draw.random() < 0.1 else arm
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
        numbers = [number(c, inside) for c in asked.columns] + [number(c, earlier) for c in asked.before]
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
        arrivals=_arrivals(events, wanted - {"exposure"}, (began, now), set(of_user)) if ours else {},
    )


def _arrivals(events: Events, wanted: set[str], span: tuple[float, float], exposed: set[str]) -> dict[str, Arrived]:
    recent = {each["id"]: each for each in events.outcomes if span[0] <= each["time"] <= span[1]}.values()

    def of(event: str) -> Arrived:
        theirs = [each["user"] in exposed for each in recent if each["event"] == event]
        return Arrived(sum(theirs), len(theirs) - sum(theirs))

    told = {event: of(event) for event in wanted}
    if any(not each.exposed for each in told.values()):
        told |= {event: of(event) for event in {each["event"] for each in recent}}
    return told


def number(column: Column, events: Sequence[Event]) -> float:
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
