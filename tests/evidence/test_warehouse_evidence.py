"""Sums that a warehouse has made: taken as they are, and refused where no data can have them."""

import re
from datetime import UTC, date, datetime, timedelta
from itertools import combinations_with_replacement
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest

from serving.rollout.evidence.sql import SqlSource
from serving.rollout.experiment.evidence import Evidence, EvidenceError, EvidenceQuery, Quality
from serving.rollout.experiment.spec import Aggregate, Column, SqlEvidence
from serving.rollout.statistics.moments import Moments
from serving.rollout.statistics.winsor import CapRule

CLICKS = Column(event="click", aggregate=Aggregate.COUNT)
SPENT = Column(event="spend", aggregate=Aggregate.SUM)
NAMES = ("click_count", "spend_sum", "click_count_before")
NOW = datetime(2026, 3, 20, 12, tzinfo=UTC)


def query(**changed: Any) -> EvidenceQuery:
    values: dict[str, Any] = {
        "experiment": "captions",
        "uid": "u-1",
        "arms": ("stable", "candidate"),
        "columns": (CLICKS, SPENT),
        "before": (CLICKS,),
        "window": timedelta(days=1),
        "before_span": timedelta(days=14),
        "as_of": NOW,
    }
    return EvidenceQuery(**(values | changed))


def ask(text: str, folder: Path, asked: EvidenceQuery | None = None) -> Evidence:
    return SqlSource(SqlEvidence(query=text), folders=[str(folder)]).evidence(asked or query())


def users(folder: Path, seed: int, kind: str) -> dict[str, np.ndarray]:
    """A Parquet file of users' numbers, and the same as arrays."""
    draw = np.random.default_rng(seed)
    size = 500
    clicks = draw.poisson(3, size).astype(float)
    spent = {"whole": draw.integers(-9, 99, size).astype(float), "any": draw.lognormal(3, 1, size)}[kind]
    found = {
        "candidate": draw.random(size) < 0.5,
        "day": draw.integers(0, 3, size),
        "triggered": draw.random(size) < 0.6,
        "click_count": clicks,
        "spend_sum": spent,
        "click_count_before": clicks + draw.poisson(1, size),
    }
    rows = list(zip(*(column.tolist() for column in found.values()), strict=True))
    with duckdb.connect() as connection:
        connection.execute("CREATE TABLE users (candidate BOOL, day INT, triggered BOOL, a DOUBLE, b DOUBLE, c DOUBLE)")
        connection.executemany("INSERT INTO users VALUES (?, ?, ?, ?, ?, ?)", rows)
        connection.execute(f"COPY users TO '{folder}/users.parquet'")
    return found


def sums_of(folder: Path, *, cast: str = "DOUBLE", triggered: bool = True) -> str:
    letters = dict(zip(NAMES, "abc", strict=True))
    parts = [f"sum({letters[name]})::{cast} AS sum_{name}" for name in NAMES]
    parts += [
        f"sum({letters[left]} * {letters[right]})::{cast} AS sum_{right}__{left}"  # the other way round
        for left, right in combinations_with_replacement(NAMES, 2)
    ]
    split = ", triggered" if triggered else ""
    return (
        f"SELECT if(candidate, $candidate, $stable) AS arm, DATE '2026-03-10' + day AS day{split}, count(*) AS n, "
        f"count(*) + 1 AS exposed, 2 AS late, {', '.join(parts)} FROM '{folder}/users.parquet' GROUP BY arm, day{split}"
    )


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("cast", ["DOUBLE", "HUGEINT", "DECIMAL(38, 2)"])
def test_whole_sums_are_those_of_the_users_to_the_last_bit(tmp_path: Path, seed: int, cast: str) -> None:
    numbers = users(tmp_path, seed, "whole")
    found = ask(sums_of(tmp_path, cast=cast), tmp_path)
    for arm, chosen in (("stable", ~numbers["candidate"]), ("candidate", numbers["candidate"])):
        want = {name: numbers[name][chosen] for name in NAMES}
        assert found.moments[arm] == Moments.of(want)
        seen = chosen & numbers["triggered"]
        assert found.triggered[arm] == Moments.of({name: numbers[name][seen] for name in NAMES})
        for day in found.days:
            of_day = chosen & (numbers["day"] == (day.day - date(2026, 3, 10)).days)
            assert day.moments[arm] == Moments.of({name: numbers[name][of_day] for name in NAMES})
        assert found.exposed[arm] == chosen.sum() + 6  # a row each of three days, triggered or not, has one more
    assert [day.day for day in found.days] == [date(2026, 3, 10 + day) for day in range(3)]
    assert found.quality == Quality(late=24)


def test_other_sums_are_taken_as_the_doubles_that_they_are(tmp_path: Path) -> None:
    numbers = users(tmp_path, 9, "any")
    found = ask(sums_of(tmp_path, triggered=False), tmp_path)
    chosen = numbers["candidate"]
    together = np.stack([numbers[name][chosen] for name in NAMES])
    np.testing.assert_allclose(found.moments["candidate"].mean(), together.mean(axis=1), rtol=1e-13)
    np.testing.assert_allclose(found.moments["candidate"].covariance(), np.cov(together), rtol=1e-11)
    assert found.triggered["candidate"] == Moments.empty(NAMES)


def test_the_readmes_sql_gives_what_the_join_of_users_gives(tmp_path: Path) -> None:
    """Events of 400 users, through the template for a warehouse and through `kind: users`."""
    text = (Path(__file__).parents[2] / "serving/rollout/evidence/README.md").read_text()
    (template,) = re.findall(r"```sql\n(.*?)```", text, re.DOTALL)
    with duckdb.connect(f"{tmp_path}/site.duckdb") as connection:
        connection.execute("SELECT setseed(0.5)")
        connection.execute(
            "CREATE TABLE exposures AS SELECT 'x' || i AS id, 'u-1' AS uid, 'user-' || (i % 400) AS user_id, "
            "if((i % 400) % 2 = 0 AND i <> 799, 'stable', if(i = 798, 'stable', 'candidate')) AS arm, "
            "floor(1773500000 + random() * 500000) AS shown_at, floor(random() * 3)::INT AS captioned "
            "FROM range(800) t(i)"
        )
        connection.execute("UPDATE exposures SET arm = 'stable' WHERE id IN ('x1', 'x5')")  # these users switch
        connection.execute(
            "CREATE TABLE outcomes AS SELECT 'o' || i AS id, 'user-' || (i % 420) AS user_id, "
            "if(i % 3 = 0, 'view', 'click') AS event, floor(1773300000 + random() * 700000) AS happened_at "
            "FROM range(4000) t(i)"
        )
        for table in ("exposures", "outcomes"):
            connection.execute(f"INSERT INTO {table} FROM {table} LIMIT 20")  # sent again
    asked = query(columns=(CLICKS,), as_of=datetime.fromtimestamp(1_773_900_000, UTC))
    database = f"{tmp_path}/site.duckdb"
    by_sums = SqlSource(SqlEvidence(database=database, query=template), folders=[str(tmp_path)]).evidence(asked)
    by_users = SqlSource(
        SqlEvidence(
            kind="users",
            database=database,
            exposures='SELECT id, uid, shown_at AS time, user_id AS "user", arm, captioned FROM exposures',
            outcomes='SELECT id, happened_at AS time, user_id AS "user", event FROM outcomes',
        ),
        folders=[str(tmp_path)],
    ).evidence(asked)
    assert by_sums.moments == by_users.moments
    assert by_sums.triggered == by_users.triggered
    assert by_sums.exposed == by_users.exposed
    assert [day for day in by_sums.days if any(each.count for each in day.moments.values())] == list(by_users.days)
    assert by_users.quality.switched > 0
    assert by_users.moments["candidate"].count > 50


def test_no_rows_are_no_users(tmp_path: Path) -> None:
    found = ask("SELECT 1 AS arm WHERE false", tmp_path)
    assert found.exposed == {"stable": 0, "candidate": 0}
    assert found.moments["stable"] == Moments.empty(NAMES)
    assert found.days == ()


ROW = {
    "arm": "'stable'",
    "day": "DATE '2026-03-10'",
    "n": "10",
    "exposed": "12",
    "sum_click_count": "20",
    "sum_spend_sum": "30.5",
    "sum_click_count_before": "5",
    "sum_click_count__click_count": "60",
    "sum_click_count__spend_sum": "70.5",
    "sum_click_count__click_count_before": "12",
    "sum_spend_sum__spend_sum": "130.25",
    "sum_spend_sum__click_count_before": "16",
    "sum_click_count_before__click_count_before": "7",
}


def row(**changed: str | None) -> str:
    values = {name: value for name, value in (ROW | changed).items() if value is not None}
    return "SELECT " + ", ".join(f"{value} AS {name}" for name, value in values.items())


def test_a_row_is_read(tmp_path: Path) -> None:
    found = ask(f"{row()} UNION ALL {row(n='0', **dict.fromkeys(list(ROW)[4:], 'NULL'))}", tmp_path)
    assert found.exposed == {"stable": 24, "candidate": 0}
    assert found.moments["stable"].count == 10
    assert found.moments["stable"].mean().tolist() == [2.0, 3.05, 0.5]


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"arm": "'control'"}, r"row 1: arm is 'control'; expected one of \['stable', 'candidate'\]"),
        ({"day": "'yesterday'"}, "row 1: day is 'yesterday'; expected a DATE"),
        (
            {"day": "DATE '2026-03-21'"},
            r"day is .*; expected at most 2026-03-20, the day that is asked for: use \$as_of",
        ),
        ({"n": "-1"}, "row 1: n is -1; expected a whole number of at least 0"),
        ({"n": "NULL"}, "n is None; expected a whole number"),
        ({"n": "2.5"}, "expected a whole number"),
        ({"exposed": "9"}, "exposed is 9; expected at least n, which is 10"),
        ({"sum_click_count": None}, r"lacks \['sum_click_count'\]; expected"),
        ({"sum_clikc_count": "1"}, r"has \['sum_clikc_count'\], which nothing reads"),
        ({"sum_click_count": "'many'"}, "sum_click_count is 'many'; expected a number"),
        ({"sum_click_count": "NULL"}, "sum_click_count is None; expected a number"),
        ({"sum_click_count": "'NaN'::DOUBLE"}, r"row 1 \(stable, 2026-03-10\): "),
        ({"sum_click_count": "'inf'::DOUBLE"}, r"row 1 \(stable, 2026-03-10\): "),
        ({"sum_click_count__click_count": "39"}, "'click_count': the sum of squares is below the least"),
        ({"n": "0"}, "sums of no users are not 0"),
        (
            {"sum_click_count__spend_sum": "200"},
            r"sum_click_count__spend_sum is 200; expected what .* \(Cauchy-Schwarz\)",
        ),
        ({"triggered": "1"}, "triggered is 1; expected true or false"),
        ({"late": "-3"}, "late is -3; expected a whole number of at least 0"),
    ],
)
def test_rows_that_cannot_be_are_refused(tmp_path: Path, changed: dict[str, str | None], says: str) -> None:
    with pytest.raises(EvidenceError, match=says):
        ask(row(**changed), tmp_path)


def test_an_arm_that_is_missing_is_no_small_arm(tmp_path: Path) -> None:
    with pytest.raises(
        EvidenceError, match=r"no users of arm 'candidate' .*does it name them \['stable', 'candidate'\]"
    ):
        ask(row(exposed="50"), tmp_path)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("SELECT 1; DROP TABLE x", "expected one SELECT"),
        ("DELETE FROM x", "expected one SELECT"),
        ("SELECT $until AS arm", r"the query of sums has \$until; expected \$as_of, \$before_seconds, \$candidate"),
        ("SELECT * FROM nothing", "the query of sums: Catalog Error: Table with name nothing"),
    ],
)
def test_a_query_that_cannot_be_asked_says_why(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(EvidenceError, match=says):
        ask(text, tmp_path)


def test_sums_cannot_be_capped(tmp_path: Path) -> None:
    with pytest.raises(EvidenceError, match=r"caps are wanted for \['spend_sum'\]"):
        ask(row(), tmp_path, query(caps={"spend_sum": 3.0}))
    of_sums = SqlSource(SqlEvidence(query=row()), folders=[])
    with pytest.raises(EvidenceError, match="no users to take a quantile of"):
        of_sums.quantiles({SPENT: CapRule(0.99)}, (NOW - timedelta(days=9), NOW))
